//! The mesh's configuration as the platform team writes it, validated.
//!
//! Which file it comes from, and when it is read again, is not known here.

use serde::Deserialize;
use sha2::{Digest, Sha256};
use sparkmesh_policy::port::Port;

use crate::bootstrap::{AppProbe, Check, Control, Template};

/// The configuration as written; unknown keys are errors.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ConfigFile {
    /// The sidecar.
    #[serde(default)]
    pub proxy: ProxyFile,
    /// The init container.
    #[serde(default)]
    pub init: InitFile,
    /// The control plane.
    #[serde(default)]
    pub control: ControlFile,
    /// Namespaces whose pods are never injected.
    #[serde(default = "excluded_by_default")]
    pub excluded_namespaces: Vec<String>,
}

/// `proxy`
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ProxyFile {
    /// Envoy's image.
    pub image: String,
    /// Envoy's log level.
    pub log_level: String,
}

/// `init`
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct InitFile {
    /// The image that holds `sparkmesh` and iptables.
    pub image: String,
}

/// `control`
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ControlFile {
    /// DNS name of the control plane.
    pub host: String,
    /// Its xDS port.
    pub port: u16,
    /// File with the certificate authority that signs it, PEM; relative to the configuration.
    pub ca_file: Option<String>,
}

impl Default for ConfigFile {
    fn default() -> ConfigFile {
        ConfigFile {
            proxy: ProxyFile::default(),
            init: InitFile::default(),
            control: ControlFile::default(),
            excluded_namespaces: excluded_by_default(),
        }
    }
}

impl Default for ProxyFile {
    fn default() -> ProxyFile {
        ProxyFile {
            image: "envoyproxy/envoy:distroless-v1.40.0".to_owned(),
            log_level: LogLevel::Warning.word().to_owned(),
        }
    }
}

impl Default for InitFile {
    fn default() -> InitFile {
        InitFile {
            image: concat!("sparkmesh:", env!("CARGO_PKG_VERSION")).to_owned(),
        }
    }
}

impl Default for ControlFile {
    fn default() -> ControlFile {
        ControlFile {
            host: "sparkmesh-control.sparkmesh-system.svc".to_owned(),
            port: 15012,
            ca_file: None,
        }
    }
}

fn excluded_by_default() -> Vec<String> {
    ["kube-system", "kube-public", "kube-node-lease"]
        .map(str::to_owned)
        .to_vec()
}

/// The configuration, every value legal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MeshConfig {
    /// Envoy's image.
    pub proxy_image: Image,
    /// The image that holds `sparkmesh` and iptables.
    pub init_image: Image,
    /// Envoy's log level where no annotation says otherwise.
    pub log_level: LogLevel,
    /// Namespaces whose pods are never injected.
    pub excluded_namespaces: Vec<String>,
    /// The part of every bootstrap that the configuration tells, rendered once.
    bootstrap: Template,
    /// Of the bootstrap's text and the images, see [`MeshConfig::digest`].
    digest: [u8; 32],
}

/// A value of the configuration that is not legal.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {message}")]
pub struct ConfigError {
    /// The key, dotted.
    pub key: &'static str,
    /// What is wrong and what would be right.
    pub message: String,
}

impl MeshConfig {
    /// Validates what was written; `ca_pem` is the content of `control.caFile`. Every mistake is
    /// named at once.
    pub fn parse(file: ConfigFile, ca_pem: Option<String>) -> Result<MeshConfig, Vec<ConfigError>> {
        let mut errors = Vec::new();
        let proxy_image = Image::parse("proxy.image", &file.proxy.image, &mut errors);
        let init_image = Image::parse("init.image", &file.init.image, &mut errors);
        let log_level = LogLevel::from_word(&file.proxy.log_level);
        if log_level.is_none() {
            errors.push(ConfigError {
                key: "proxy.logLevel",
                message: format!(
                    "`{}` is not one of {}",
                    file.proxy.log_level,
                    LogLevel::ALL.map(LogLevel::word).join(", ")
                ),
            });
        }
        if !is_dns_name(&file.control.host) {
            errors.push(ConfigError {
                key: "control.host",
                message: format!("`{}` is not a DNS name", file.control.host),
            });
        }
        let port = Port::new(file.control.port);
        if port.is_none() {
            errors.push(ConfigError {
                key: "control.port",
                message: "0 is not a port".to_owned(),
            });
        }
        if ca_pem
            .as_ref()
            .is_some_and(|pem| !pem.contains("-----BEGIN CERTIFICATE-----"))
        {
            errors.push(ConfigError {
                key: "control.caFile",
                message: "the file holds no PEM certificate".to_owned(),
            });
        }
        match (proxy_image, init_image, log_level, port) {
            (Some(proxy_image), Some(init_image), Some(log_level), Some(port))
                if errors.is_empty() =>
            {
                let bootstrap = Template::new(&Control {
                    host: file.control.host,
                    port,
                    ca_pem,
                });
                Ok(MeshConfig {
                    digest: digest(&bootstrap, [&proxy_image, &init_image]),
                    proxy_image,
                    init_image,
                    log_level,
                    bootstrap,
                    excluded_namespaces: file.excluded_namespaces,
                })
            }
            _ => Err(errors),
        }
    }
}

/// Taken once for a configuration: on processors without instructions for it, hashing a bootstrap
/// would be the greater part of an admission's cost.
fn digest(bootstrap: &Template, images: [&Image; 2]) -> [u8; 32] {
    let every_part = bootstrap.render(
        &[Port::HEALTH, Port::METRICS],
        &[
            Check::Http {
                tls: true,
                port: Port::HEALTH,
                path: String::new(),
            },
            Check::Tcp { port: Port::HEALTH },
            Check::Grpc {
                port: Port::HEALTH,
                service: None,
            },
        ]
        .map(|check| AppProbe {
            path: String::new(),
            check,
            timeout_seconds: 1,
        }),
    );
    let mut hasher = Sha256::new();
    for text in [&every_part, &images[0].0, &images[1].0] {
        hasher.update(text.len().to_le_bytes());
        hasher.update(text);
    }
    hasher.finalize().into()
}

impl Default for MeshConfig {
    fn default() -> MeshConfig {
        MeshConfig::parse(ConfigFile::default(), None).expect("the defaults are legal")
    }
}

fn is_dns_name(host: &str) -> bool {
    let label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
    };
    host.len() <= 253 && host.split('.').all(label)
}

/// A container image, named so that two pods get the same one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image(String);

impl Image {
    fn parse(key: &'static str, text: &str, errors: &mut Vec<ConfigError>) -> Option<Image> {
        let legal = text.is_ascii() && !text.bytes().any(|b| b.is_ascii_whitespace() || b == b'$');
        let image = Image(text.to_owned());
        if legal && !image.repository().is_empty() && image.repository().len() < text.len() {
            return Some(image);
        }
        errors.push(ConfigError {
            key,
            message: format!("`{text}` is not an image with a tag or digest, like sparkmesh:1.0"),
        });
        None
    }

    /// The whole reference.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The reference without tag and digest.
    #[must_use]
    pub fn repository(&self) -> &str {
        repository_of(&self.0)
    }
}

/// An image reference without tag and digest.
#[must_use]
pub fn repository_of(image: &str) -> &str {
    let image = image.split_once('@').map_or(image, |(name, _)| name);
    // A colon before the last slash belongs to a registry's port.
    match image.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => name,
        _ => image,
    }
}

/// Envoy's log levels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogLevel {
    /// Everything.
    Trace,
    /// For debugging.
    Debug,
    /// Information.
    Info,
    /// Warnings and worse.
    Warning,
    /// Errors and worse.
    Error,
    /// What ends the proxy.
    Critical,
    /// Nothing.
    Off,
}

impl LogLevel {
    /// All levels.
    pub const ALL: [LogLevel; 7] = [
        LogLevel::Trace,
        LogLevel::Debug,
        LogLevel::Info,
        LogLevel::Warning,
        LogLevel::Error,
        LogLevel::Critical,
        LogLevel::Off,
    ];

    /// The word that Envoy's `--log-level` takes.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            LogLevel::Trace => "trace",
            LogLevel::Debug => "debug",
            LogLevel::Info => "info",
            LogLevel::Warning => "warning",
            LogLevel::Error => "error",
            LogLevel::Critical => "critical",
            LogLevel::Off => "off",
        }
    }

    /// The level of this word.
    #[must_use]
    pub fn from_word(word: &str) -> Option<LogLevel> {
        LogLevel::ALL.into_iter().find(|level| level.word() == word)
    }
}

impl MeshConfig {
    /// The proxy's whole bootstrap for a pod with these HTTP ports and probes.
    #[must_use]
    pub fn bootstrap(&self, http_ports: &[Port], probes: &[AppProbe]) -> String {
        self.bootstrap.render(http_ports, probes)
    }

    /// Differs whenever two configurations give the same pod something else, its log level aside.
    pub(crate) fn digest(&self) -> &[u8; 32] {
        &self.digest
    }

    /// Whether pods of this namespace are never injected.
    #[must_use]
    pub fn excludes(&self, namespace: &str) -> bool {
        self.excluded_namespaces
            .iter()
            .any(|name| name == namespace)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registry_with_a_port_is_not_a_tag() {
        assert_eq!(repository_of("reg:5000/envoy"), "reg:5000/envoy");
        assert_eq!(repository_of("reg:5000/envoy:v1"), "reg:5000/envoy");
        assert_eq!(repository_of("envoy:v1@sha256:00"), "envoy");
    }

    #[test]
    fn what_a_configuration_gives_to_pods_is_in_its_digest() {
        let digest = |change: &dyn Fn(&mut ConfigFile), ca: Option<&str>| {
            let mut file = ConfigFile::default();
            change(&mut file);
            let config = MeshConfig::parse(file, ca.map(str::to_owned)).expect("legal");
            *config.digest()
        };
        let pem = Some("-----BEGIN CERTIFICATE-----");
        let all = [
            digest(&|_| {}, None),
            digest(&|_| {}, pem),
            digest(&|file| file.proxy.image = "envoy:1".into(), None),
            digest(&|file| file.init.image = "envoy:1".into(), None),
            digest(&|file| file.control.host = "other".into(), None),
            digest(&|file| file.control.port = 1, None),
        ];
        let different: std::collections::BTreeSet<_> = all.iter().collect();
        assert_eq!(different.len(), all.len());
        assert_eq!(digest(&|_| {}, None), all[0]);
    }

    #[test]
    fn every_mistake_is_named_at_once() {
        let file = ConfigFile {
            proxy: ProxyFile {
                image: "envoy".into(),
                log_level: "loud".into(),
            },
            control: ControlFile {
                host: "Not A Name".into(),
                port: 0,
                ca_file: None,
            },
            ..ConfigFile::default()
        };
        let errors = MeshConfig::parse(file, Some("junk".into())).expect_err("all wrong");
        let keys: Vec<_> = errors.iter().map(|error| error.key).collect();
        assert_eq!(
            keys,
            [
                "proxy.image",
                "proxy.logLevel",
                "control.host",
                "control.port",
                "control.caFile"
            ]
        );
    }
}
