//! ECR: repositories and which tags exist in them.

use super::error::{ApiError, Outcome};
use super::ids::{ACCOUNT, arn};
use super::input::Input;
use super::paging::{Paging, page};
use super::state::{Action, Region};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::time::Duration;

pub(crate) const ACTIONS: &[Action] = &[
    ("CreateRepository", create_repository),
    ("DescribeRepositories", describe_repositories),
    ("DescribeImages", describe_images),
    ("PutImage", put_image),
];

/// Tags point at digests; a digest keeps living when its tag moves on.
pub(crate) struct Repository {
    created: Duration,
    pushed: BTreeMap<String, (Duration, usize)>,
    tags: BTreeMap<String, String>,
}

impl Repository {
    /// Whether a task could pull `tag`.
    pub(crate) fn has_tag(&self, tag: &str) -> bool {
        self.tags.contains_key(tag)
    }
}

fn create_repository(region: &mut Region, input: Input<'_>) -> Outcome {
    let name = input.required("repositoryName")?;
    if region.repositories.contains_key(name) {
        let message = format!("The repository with name '{name}' already exists in the registry with id '{ACCOUNT}'");
        return Err(ApiError::bad("RepositoryAlreadyExistsException", message));
    }
    let repository = Repository { created: region.now, pushed: BTreeMap::new(), tags: BTreeMap::new() };
    let body = repository_view(region, name, &repository);
    region.repositories.insert(name.to_owned(), repository);
    Ok(json!({"repository": body}))
}

fn describe_repositories(region: &mut Region, input: Input<'_>) -> Outcome {
    let names = input.texts("repositoryNames");
    if let Some(missing) = names.iter().find(|name| !region.repositories.contains_key(**name)) {
        return Err(no_repository(missing));
    }
    let chosen = region.repositories.iter().filter(|(name, _)| names.is_empty() || names.contains(&name.as_str()));
    let items = chosen.map(|(name, r)| (name.clone(), repository_view(region, name, r))).collect();
    let (repositories, next) = page(items, &paging(input))?;
    Ok(json!({"repositories": repositories, "nextToken": next}))
}

fn describe_images(region: &mut Region, input: Input<'_>) -> Outcome {
    let name = input.required("repositoryName")?;
    let repository = region.repositories.get(name).ok_or_else(|| no_repository(name))?;
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
            "imageTags": tags.collect::<Vec<_>>(), "imageSizeInBytes": size, "imagePushedAt": region.epoch(pushed),
        });
        (digest, view)
    });
    let (details, next) = page(items.collect(), &paging(input))?;
    Ok(json!({"imageDetails": details, "nextToken": next}))
}

fn put_image(region: &mut Region, input: Input<'_>) -> Outcome {
    let name = input.required("repositoryName")?;
    let manifest = input.required("imageManifest")?;
    let now = region.now;
    let repository = region.repositories.get_mut(name).ok_or_else(|| no_repository(name))?;
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

fn repository_view(region: &Region, name: &str, repository: &Repository) -> Value {
    json!({
        "repositoryName": name, "registryId": ACCOUNT, "imageTagMutability": "MUTABLE",
        "repositoryArn": arn("ecr", &region.name, &format!("repository/{name}")),
        "repositoryUri": format!("{ACCOUNT}.dkr.ecr.{}.amazonaws.com/{name}", region.name),
        "createdAt": region.epoch(repository.created),
    })
}

/// Not the same answer as a missing image (aws-facts §6).
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
