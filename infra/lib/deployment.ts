// All stacks of one environment, put together.

import { Annotations, Tags, type App } from "aws-cdk-lib";
import { FleetStack, repositoryOf } from "./fleet.ts";
import { ImagesStack } from "./images.ts";
import { NetworkStack } from "./network.ts";
import { ObservabilityStack } from "./observability.ts";
import { ProvisionerStack } from "./provisioner.ts";
import type { Settings } from "./settings.ts";
import type { OpenClawImage } from "./version-file.ts";

/** The stacks; the provisioner's own only if the settings ask for it. */
export interface Deployment {
  readonly images: ImagesStack;
  readonly network: NetworkStack;
  readonly fleet: FleetStack;
  readonly provisioner?: ProvisionerStack;
  readonly observability: ObservabilityStack;
}

/** Puts an environment together. No stack names an account or Region: CDK uses those of the deploying credentials. */
export function deployment(app: App, settings: Settings, openclaw: OpenClawImage): Deployment {
  const suffix = settings.env.replace(/(^|-)([a-z0-9])/g, (_, _dash, letter: string) => letter.toUpperCase());
  const id = (part: string) => `OpenClaw${suffix}${part}`;
  // Protection of the stack and not of the load balancer: the latter would also prevent the rollback of a failed first
  // deployment.
  const protect = { terminationProtection: settings.strict };
  // Also if upstream is used in its place: single users are pinned to new images.
  const extendedRepository = repositoryOf(openclaw.extendedImage);
  const images = new ImagesStack(app, "OpenClawImages", { extendedRepository });
  const network = new NetworkStack(app, id("Network"), { settings, ...protect });
  const fleet = new FleetStack(app, id("Fleet"), {
    settings,
    network,
    image: openclaw.image,
    extendedRepository,
    ...protect,
  });
  const provisioner =
    settings.provisioner &&
    new ProvisionerStack(app, id("Provisioner"), {
      settings,
      provisioner: settings.provisioner,
      network,
      fleet,
      ...protect,
    });
  const observability = new ObservabilityStack(app, id("Observability"), { settings, network, fleet, provisioner });

  const warn = (about: string, message: string) => Annotations.of(fleet).addWarningV2(`openclaw:${about}`, message);
  if (openclaw.fallback !== undefined) warn("fallback", openclaw.fallback);
  if (!settings.provisioner) {
    warn(
      "no-provisioner",
      "the provisioner's service is left out; set provisionerTag and tokensSecretArn once its image is pushed",
    );
  } else if (settings.provisioner.certificateArn === undefined) {
    warn("plain-http", "tokens go to the load balancer over plain HTTP; set certificateArn");
  }
  for (const stack of [network, fleet, provisioner, observability]) {
    if (stack) Tags.of(stack).add("openclaw:environment", settings.env);
  }
  return { images, network, fleet, observability, ...(provisioner && { provisioner }) };
}
