// Entry point of the CDK app: settings from context, OpenClaw's image from openclaw-version.json.

import { fileURLToPath } from "node:url";
import { App } from "aws-cdk-lib";
import { deployment } from "../lib/deployment.ts";
import { InvalidSettings, parseSettings } from "../lib/settings.ts";
import { imageFor, InvalidVersionFile, readVersionFile } from "../lib/version-file.ts";

const app = new App();
const file = readVersionFile(fileURLToPath(new URL("../../openclaw-version.json", import.meta.url)));
try {
  const settings = parseSettings(app.node.getAllContext());
  deployment(app, settings, imageFor(file, settings.env, settings.strict));
} catch (error) {
  // Errors in the input, without a stack trace.
  if (!(error instanceof InvalidSettings || error instanceof InvalidVersionFile)) throw error;
  console.error(error.message);
  process.exit(1);
}
