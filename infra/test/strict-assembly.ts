// Writes the stacks of a strict environment into a directory, for linters: openclaw-version.json may have no image for one.

import { readFileSync } from "node:fs";
import { App } from "aws-cdk-lib";
import { app, PROD } from "./synth.ts";

// The feature flags of a deployment.
const { context } = JSON.parse(readFileSync(new URL("../cdk.json", import.meta.url), "utf8"));
const [, , outdir] = process.argv;
if (outdir === undefined) throw new Error("usage: strict-assembly.ts DIRECTORY");
const strict = new App({ outdir, context });
app(PROD, strict);
strict.synth();
