//! ECR: repositories and their tags.

use super::error::{ApiError, Outcome};
use super::here::{Action, Here};
use super::ids::{ACCOUNT, arn};
use super::input::Input;
use super::paging::{Paging, page};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::time::Duration;

pub(crate) const ACTIONS: &[Action<Ecr>] = &[
    ("CreateRepository", create_repository),
    ("DescribeRepositories", describe_repositories),
    ("DescribeImages", describe_images),
    ("PutImage", put_image),
];

/// A region's state of ECR.
pub(crate) struct Ecr {
    pub(crate) here: Here,
    repositories: BTreeMap<String, Repository>,
}

impl Ecr {
    pub(crate) fn new(here: Here) -> Self {
        Self { here, repositories: BTreeMap::new() }
    }

    /// Whether the repository is known to lack the tag, so that a pull would fail. Nothing is known of a repository that is
    /// not here.
    pub(crate) fn lacks(&self, repository: &str, tag: &str) -> bool {
        self.repositories.get(repository).is_some_and(|repository| !repository.tags.contains_key(tag))
    }
}

/// Tags point at digests; a digest stays when its tag moves on.
struct Repository {
    created: Duration,
    pushed: BTreeMap<String, (Duration, usize)>,
    tags: BTreeMap<String, String>,
}

fn create_repository(ecr: &mut Ecr, input: Input<'_>) -> Outcome {
    let name = input.required("repositoryName")?;
    if ecr.repositories.contains_key(name) {
        let message = format!("The repository with name '{name}' already exists in the registry with id '{ACCOUNT}'");
        return Err(ApiError::bad("RepositoryAlreadyExistsException", message));
    }
    let repository = Repository { created: ecr.here.now, pushed: BTreeMap::new(), tags: BTreeMap::new() };
    let body = repository_view(ecr, name, &repository);
    ecr.repositories.insert(name.to_owned(), repository);
    Ok(json!({"repository": body}))
}

fn describe_repositories(ecr: &mut Ecr, input: Input<'_>) -> Outcome {
    let names = input.texts("repositoryNames");
    if let Some(missing) = names.iter().find(|name| !ecr.repositories.contains_key(**name)) {
        return Err(no_repository(missing));
    }
    let chosen = ecr.repositories.iter().filter(|(name, _)| names.is_empty() || names.contains(&name.as_str()));
    let items = chosen.map(|(name, r)| (name.clone(), repository_view(ecr, name, r))).collect();
    let (repositories, next) = page(items, &paging(input))?;
    Ok(json!({"repositories": repositories, "nextToken": next}))
}

fn describe_images(ecr: &mut Ecr, input: Input<'_>) -> Outcome {
    let name = input.required("repositoryName")?;
    let repository = ecr.repositories.get(name).ok_or_else(|| no_repository(name))?;
    let mut digests = Vec::new();
    for id in input.list("imageIds") {
        let tag = id["imageTag"].as_str();
        let digest = match tag {
            Some(tag) => repository.tags.get(tag).map(String::as_str),
            None => id["imageDigest"].as_str(),
        };
        match digest.filter(|digest| repository.pushed.contains_key(*digest)) {
            Some(digest) => digests.push(digest.to_owned()),
            None => return Err(no_image(name, id)),
        }
    }
    if input.list("imageIds").is_empty() {
        digests.extend(repository.pushed.keys().cloned());
    }
    let items = digests.into_iter().map(|digest| {
        let (pushed, size) = repository.pushed.get(&digest).copied().unwrap_or_default();
        let tags = repository.tags.iter().filter(|(_, to)| **to == digest).map(|(tag, _)| tag);
        let view = json!({
            "registryId": ACCOUNT, "repositoryName": name, "imageDigest": digest,
            "imageTags": tags.collect::<Vec<_>>(), "imageSizeInBytes": size, "imagePushedAt": ecr.here.epoch(pushed),
        });
        (digest, view)
    });
    let (details, next) = page(items.collect(), &paging(input))?;
    Ok(json!({"imageDetails": details, "nextToken": next}))
}

fn put_image(ecr: &mut Ecr, input: Input<'_>) -> Outcome {
    let name = input.required("repositoryName")?;
    let manifest = input.required("imageManifest")?;
    let now = ecr.here.now;
    let repository = ecr.repositories.get_mut(name).ok_or_else(|| no_repository(name))?;
    let hash: String = hex::encode(Sha256::digest(manifest.as_bytes()));
    let digest = format!("sha256:{hash}");
    let mut id = json!({"imageDigest": digest});
    if let Some(tag) = input.text("imageTag") {
        if repository.tags.get(tag) == Some(&digest) {
            let message = format!(
                "Image with digest '{digest}' and tag '{tag}' already exists in the repository with name '{name}' in registry with id '{ACCOUNT}'"
            );
            return Err(ApiError::bad("ImageAlreadyExistsException", message));
        }
        repository.tags.insert(tag.to_owned(), digest.clone());
        id["imageTag"] = json!(tag);
    }
    repository.pushed.entry(digest).or_insert((now, manifest.len()));
    Ok(json!({"image": {"registryId": ACCOUNT, "repositoryName": name, "imageId": id, "imageManifest": manifest}}))
}

fn paging(input: Input<'_>) -> Paging<'_> {
    let size = input.integer("maxResults").unwrap_or(100).clamp(1, 1000);
    Paging { token: input.text("nextToken"), size: size as usize, descending: false }
}

fn repository_view(ecr: &Ecr, name: &str, repository: &Repository) -> Value {
    json!({
        "repositoryName": name, "registryId": ACCOUNT, "imageTagMutability": "MUTABLE",
        "repositoryArn": arn("ecr", &ecr.here.name, &format!("repository/{name}")),
        "repositoryUri": format!("{ACCOUNT}.dkr.ecr.{}.amazonaws.com/{name}", ecr.here.name),
        "createdAt": ecr.here.epoch(repository.created),
    })
}

/// A missing image has another answer (aws-facts §6).
fn no_repository(name: &str) -> ApiError {
    let message = format!("The repository with name '{name}' does not exist in the registry with id '{ACCOUNT}'");
    ApiError::bad("RepositoryNotFoundException", message)
}

fn no_image(repository: &str, id: &Value) -> ApiError {
    let part = |name: &str| id[name].as_str().unwrap_or("null");
    let message = format!(
        "The image with imageId {{imageDigest:'{}', imageTag:'{}'}} does not exist within the repository with name '{repository}' in the registry with id '{ACCOUNT}'",
        part("imageDigest"),
        part("imageTag"),
    );
    ApiError::bad("ImageNotFoundException", message)
}
