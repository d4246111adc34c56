// Checks the templates with cdk-nag's AWS Solutions rules; rule-exceptions.ts has the accepted findings.

import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { App, Validations } from "aws-cdk-lib";
import { AwsSolutionsChecks } from "cdk-nag";
import { EXCEPTIONS } from "./rule-exceptions.ts";
import { app, DEV, PROD, ROLES } from "./synth.ts";

interface Report {
  readonly pluginReports: {
    pluginName: string;
    violations: { ruleName: string; violatingConstructs: { constructPath: string }[] }[];
  }[];
}

/** The findings: rule and construct, without the environment and the rest of the ARNs. */
function findings(context: typeof DEV): string[] {
  const outdir = mkdtempSync(join(tmpdir(), "openclaw-rules-"));
  try {
    const checked = new App({ outdir, context: { "@aws-cdk/core:failSynthOnValidationErrors": false } });
    Validations.of(checked).addPlugins(new AwsSolutionsChecks(checked));
    app(context, checked);
    checked.synth();
    const report = JSON.parse(readFileSync(join(outdir, "validation-report.json"), "utf8")) as Report;
    assert.ok(
      report.pluginReports.some((one) => one.pluginName === "AwsSolutions"),
      "the rules were not asked",
    );
    return report.pluginReports.flatMap((one) =>
      one.violations.flatMap(({ ruleName, violatingConstructs }) =>
        violatingConstructs.map(({ constructPath }) => plain(`${ruleName} at ${constructPath}`, context.env)),
      ),
    );
  } finally {
    rmSync(outdir, { recursive: true });
  }
}

const plain = (finding: string, env: string) =>
  finding
    .replace("AwsSolutions-", "")
    .replace("Resource::", "")
    .replace(/arn:<AWS::Partition>:([a-z]+):(?:<AWS::Region>)?:<AWS::AccountId>:/, "$1:")
    .replace(/ at OpenClaw(Dev|Prod)/, " at ")
    .replace(`openclaw-${env}`, "openclaw-ENV")
    .replace(`openclaw/${env}/`, "openclaw/ENV/");

test("what the rules find has a reason, and every reason is still needed", () => {
  const found = new Set([...findings(DEV), ...findings(PROD), ...findings(ROLES)]);
  assert.deepEqual([...found].sort(), Object.keys(EXCEPTIONS).sort());
});
