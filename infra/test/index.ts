// All tests in one process: loading the CDK and its template rules takes longer than the tests.

import "./settings.test.ts";
import "./policy.test.ts";
import "./isolation.test.ts";
import "./stacks.test.ts";
import "./images.test.ts";
import "./rules.test.ts";
