//! Whether an image exists, before a task definition names it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_config::{Region, SdkConfig};
use aws_sdk_ecr::types::ImageIdentifier;
use tokio::time::Instant;

use super::attempts::Attempts;
use super::{AwsError, ErrorKind};
use crate::domain::{EcrImage, EcrReference};

/// How long a found image is believed to be there: a fleet that is provisioned at once asks once. That an image is
/// missing is never remembered, so that pushing it mends the next call.
const BELIEVED_FOR: Duration = Duration::from_secs(60);

/// What ECR knows of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ImageLookup {
    /// It is there.
    Found,
    /// The repository is there, the image is not.
    NoImage,
    /// There is no such repository.
    NoRepository,
    /// This service may not look; whether the tasks may pull is another question.
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

    /// Looks an image up, in the registry's own region; one that was found is believed for 60 s.
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
