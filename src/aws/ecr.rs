//! Checks that an image exists before a task definition names it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_config::{Region, SdkConfig};
use aws_sdk_ecr::types::ImageIdentifier;
use tokio::time::Instant;

use super::attempts::Attempts;
use super::{AwsError, ErrorKind};
use crate::domain::{EcrImage, EcrReference};

/// How long a found image is remembered, so that provisioning a whole fleet asks ECR once. A missing image is never
/// remembered, so that the next call succeeds after it is pushed.
const BELIEVED_FOR: Duration = Duration::from_secs(60);

/// The result of looking an image up in ECR.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ImageLookup {
    /// The image exists.
    Found,
    /// The repository exists, but not the image.
    NoImage,
    /// The repository does not exist.
    NoRepository,
    /// This service has no permission to look; tasks may still have permission to pull.
    NotAllowed,
}

/// ECR, as far as the service uses it.
#[derive(Debug, Clone)]
pub struct Ecr {
    config: aws_sdk_ecr::config::Config,
    answers: Arc<Mutex<HashMap<EcrImage, (Instant, ImageLookup)>>>,
}

impl Ecr {
    pub(super) fn new(config: &SdkConfig, attempts: Attempts) -> Self {
        let config = aws_sdk_ecr::config::Builder::from(config).interceptor(attempts).build();
        Self { config, answers: Arc::default() }
    }

    /// Looks an image up, in the registry's own region; a found image is remembered for 60 s.
    ///
    /// # Errors
    /// When ECR gives no usable answer.
    pub async fn look_up(&self, image: &EcrImage) -> Result<ImageLookup, AwsError> {
        if let Some(known) = self.remembered(image) {
            return Ok(known);
        }
        let region = Region::new(image.region.clone());
        let client = aws_sdk_ecr::Client::from_conf(self.config.to_builder().region(region).build());
        let id = match &image.reference {
            EcrReference::Tag(tag) => ImageIdentifier::builder().image_tag(tag),
            EcrReference::Digest(digest) => ImageIdentifier::builder().image_digest(digest),
        };
        let call = client.describe_images().registry_id(&image.registry_id).repository_name(&image.repository);
        let found = match call.image_ids(id.build()).send().await {
            Ok(_) => ImageLookup::Found,
            Err(error) => match error.as_service_error() {
                Some(known) if known.is_image_not_found_exception() => return Ok(ImageLookup::NoImage),
                Some(known) if known.is_repository_not_found_exception() => return Ok(ImageLookup::NoRepository),
                _ => {
                    let error = AwsError::from_sdk("ecr:DescribeImages", error);
                    if error.kind() != ErrorKind::Denied {
                        return Err(error);
                    }
                    ImageLookup::NotAllowed
                }
            },
        };
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        answers.retain(|_, (at, _)| at.elapsed() < BELIEVED_FOR);
        answers.insert(image.clone(), (Instant::now(), found.clone()));
        Ok(found)
    }

    fn remembered(&self, image: &EcrImage) -> Option<ImageLookup> {
        let answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        answers.get(image).filter(|(at, _)| at.elapsed() < BELIEVED_FOR).map(|(_, found)| found.clone())
    }
}
