// What happens with data when its stack is deleted.

import { RemovalPolicy } from "aws-cdk-lib";
import type { Settings } from "./settings.ts";

/**
 * `dev` keeps nothing. Others keep users' files and logs, except after a failed first deployment: they are
 * empty then, and an existing log group would block the second deployment (CloudFormation user guide, "DeletionPolicy").
 */
export const removalPolicy = ({ strict }: Settings): RemovalPolicy =>
  strict ? RemovalPolicy.RETAIN_ON_UPDATE_OR_DELETE : RemovalPolicy.DESTROY;
