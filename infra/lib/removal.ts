// What becomes of data when the stack that made it goes.

import { RemovalPolicy } from "aws-cdk-lib";
import type { Settings } from "./settings.ts";

/**
 * `dev` leaves nothing behind. Others keep users' files and logs, but for those of a first deployment that failed: they are
 * empty, and a log group of that name would be in the way of the second (CloudFormation user guide, "DeletionPolicy").
 */
export const removalPolicy = ({ strict }: Settings): RemovalPolicy =>
  strict ? RemovalPolicy.RETAIN_ON_UPDATE_OR_DELETE : RemovalPolicy.DESTROY;
