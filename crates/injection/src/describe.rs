//! A plan in words, for people who ask what their pod gets and why.

use std::fmt::Write as _;

use crate::bootstrap::Check;
use crate::config::MeshConfig;
use crate::plan::{Bounds, InjectionPlan};

impl InjectionPlan {
    /// The plan line by line: what, and its value.
    #[must_use]
    pub fn describe(&self, config: &MeshConfig) -> Vec<(&'static str, String)> {
        let mut lines = vec![
            ("role", self.role.word().to_owned()),
            ("init container", config.init_image.as_str().to_owned()),
            ("proxy", self.proxy_line(config)),
            ("redirected", self.redirect_line()),
            ("HTTP ports", listed(&self.http_ports)),
        ];
        for rewrite in &self.probes {
            let line = format!(
                "{} {}: {} through {}",
                rewrite.container,
                rewrite.kind.field(),
                check(&rewrite.probe.check),
                rewrite.probe.path
            );
            lines.push(("probe", line));
        }
        if let Some(container) = &self.default_container {
            lines.push(("kubectl picks", container.clone()));
        }
        lines.extend(self.warnings.iter().map(|line| ("warning", line.clone())));
        lines
    }

    fn proxy_line(&self, config: &MeshConfig) -> String {
        let mut line = format!(
            "{}, {}, log level {}, {} thread{}",
            config.proxy_image.as_str(),
            amounts(&self.proxy_resources),
            self.log_level.word(),
            self.threads,
            if self.threads == 1 { "" } else { "s" }
        );
        if let Some(seconds) = self.drain_seconds {
            write!(line, ", stays {seconds} s at the end")
                .expect("writing to a String cannot fail");
        }
        line
    }

    fn redirect_line(&self) -> String {
        let mut line = "all TCP".to_owned();
        for (what, items) in [
            ("in on", listed(&self.redirect.exclude_inbound_ports)),
            (
                "out to ports",
                listed(&self.redirect.exclude_outbound_ports),
            ),
            ("out to", listed(&self.redirect.exclude_outbound_cidrs)),
        ] {
            if items != NONE {
                write!(line, ", but not {what} {items}").expect("writing to a String cannot fail");
            }
        }
        line
    }
}

const NONE: &str = "none";

fn listed<T: ToString>(items: &[T]) -> String {
    if items.is_empty() {
        return NONE.to_owned();
    }
    let texts: Vec<String> = items.iter().map(T::to_string).collect();
    texts.join(", ")
}

fn amounts(bounds: &Bounds) -> String {
    let range =
        |name: &str, request: &Option<String>, limit: &Option<String>| match (request, limit) {
            (None, None) => format!("{name} from the pod's budget"),
            (Some(request), None) => format!("{name} {request}"),
            (Some(request), Some(limit)) => format!("{name} {request} to {limit}"),
            (None, Some(limit)) => format!("{name} to {limit}"),
        };
    format!(
        "{}, {}",
        range("cpu", &bounds.cpu_request, &bounds.cpu_limit),
        range("memory", &bounds.memory_request, &bounds.memory_limit)
    )
}

fn check(check: &Check) -> String {
    match check {
        Check::Http { tls, port, path } => {
            format!("{}://:{port}{path}", if *tls { "https" } else { "http" })
        }
        Check::Tcp { port } => format!("tcp :{port}"),
        Check::Grpc { port, service } => {
            format!("grpc :{port} {}", service.as_deref().unwrap_or(""))
                .trim_end()
                .to_owned()
        }
    }
}
