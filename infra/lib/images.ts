// The image repositories. One pair for each account and Region, whatever environments it has: prod runs the same image by tag
// that was tried in dev.

import { Duration, RemovalPolicy, Stack, type StackProps } from "aws-cdk-lib";
import * as ecr from "aws-cdk-lib/aws-ecr";
import type { Construct } from "constructs";

/** Repository of the provisioner's own image. */
export const PROVISIONER_REPOSITORY = "openclaw-provisioner";

export interface ImagesProps extends StackProps {
  /** Repository of the extended OpenClaw image; undefined when it is in another registry. */
  readonly extendedRepository?: string | undefined;
}

export class ImagesStack extends Stack {
  constructor(scope: Construct, id: string, props: ImagesProps) {
    super(scope, id, props);
    for (const name of [PROVISIONER_REPOSITORY, props.extendedRepository]) {
      if (name === undefined) continue;
      new ecr.Repository(this, name, {
        repositoryName: name,
        // A tag that can be overwritten is no pin.
        imageTagMutability: ecr.TagMutability.IMMUTABLE,
        imageScanOnPush: true,
        lifecycleRules: [
          {
            description: "layers that no tag names",
            tagStatus: ecr.TagStatus.UNTAGGED,
            maxImageAge: Duration.days(14),
          },
        ],
        // Every replacement of a task pulls the image again.
        removalPolicy: RemovalPolicy.RETAIN_ON_UPDATE_OR_DELETE,
      });
    }
  }
}
