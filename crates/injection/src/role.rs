//! What part a pod plays in a Spark application.
//!
//! A role sets defaults (resources, HTTP ports, drain) and never a right: whoever lies about it
//! gets other defaults and nothing else.

use sparkmesh_policy::port::Port;

use crate::pod::{Container, Metadata, PodView};

/// The part a pod plays.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Standalone master.
    Master,
    /// Standalone worker; its executors run inside it.
    Worker,
    /// Driver of an application.
    Driver,
    /// Executor of an application.
    Executor,
    /// Spark Connect server.
    ConnectServer,
    /// History server.
    HistoryServer,
    /// Nothing of Spark's.
    None,
}

impl Role {
    /// All roles.
    pub const ALL: [Role; 7] = [
        Role::Master,
        Role::Worker,
        Role::Driver,
        Role::Executor,
        Role::ConnectServer,
        Role::HistoryServer,
        Role::None,
    ];

    /// The role's word, as annotations and output have it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Role::Master => "master",
            Role::Worker => "worker",
            Role::Driver => "driver",
            Role::Executor => "executor",
            Role::ConnectServer => "connect-server",
            Role::HistoryServer => "history-server",
            Role::None => "none",
        }
    }

    /// The role of this word.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Role> {
        Role::ALL.into_iter().find(|role| role.word() == word)
    }

    /// Ports on which pods of this role serve HTTP unless configured otherwise; see
    /// <https://spark.apache.org/docs/latest/security.html#configuring-ports-for-network-security>.
    #[must_use]
    pub fn http_ports(self) -> &'static [Port] {
        const fn port(number: u16) -> Port {
            match Port::new(number) {
                Some(port) => port,
                None => panic!("a port is at least 1"),
            }
        }
        const MASTER: &[Port] = &[port(6066), port(8080)];
        const WORKER: &[Port] = &[port(8081)];
        const DRIVER: &[Port] = &[port(4040)];
        const HISTORY: &[Port] = &[port(18080)];
        match self {
            Role::Master => MASTER,
            Role::Worker => WORKER,
            Role::Driver | Role::ConnectServer => DRIVER,
            Role::HistoryServer => HISTORY,
            Role::Executor | Role::None => &[],
        }
    }

    /// Seconds that the proxy stays after the pod's end has begun, so that the last bytes of a
    /// shuffle, a result or a log upload leave its buffers.
    #[must_use]
    pub const fn drain_seconds(self) -> u32 {
        match self {
            Role::Worker | Role::Executor => 2,
            Role::Master | Role::Driver | Role::ConnectServer => 1,
            Role::HistoryServer | Role::None => 0,
        }
    }

    /// Whether pods of this role move much data.
    #[must_use]
    pub const fn is_heavy(self) -> bool {
        matches!(self, Role::Worker | Role::Executor)
    }

    /// The role that labels or, for daemons, commands tell. Servers that run as the driver of
    /// their own application carry a driver's label: their class tells more.
    #[must_use]
    pub fn detect(pod: &PodView<'_>) -> Role {
        let started = || {
            pod.spec()
                .into_iter()
                .flat_map(|spec| spec.containers.items())
                .find_map(started)
        };
        match labelled(pod.meta()) {
            None => started().unwrap_or(Role::None),
            Some(Role::Driver) => match started() {
                Some(server @ (Role::ConnectServer | Role::HistoryServer)) => server,
                _ => Role::Driver,
            },
            Some(role) => role,
        }
    }
}

/// The label that Spark itself puts on drivers and executors, and that both operators keep.
const ROLE_LABEL: &str = "spark-role";

fn labelled(meta: &Metadata<'_>) -> Option<Role> {
    match meta.label(ROLE_LABEL)? {
        "driver" => Some(Role::Driver),
        "executor" => Some(Role::Executor),
        // The `cluster-` words are the Kubeflow operator's SparkCluster.
        "master" | "cluster-master" => Some(Role::Master),
        "worker" | "cluster-worker" => Some(Role::Worker),
        "connect-server" => Some(Role::ConnectServer),
        "history-server" => Some(Role::HistoryServer),
        _ => None,
    }
}

/// What in a command line starts which daemon: its class, or the script that Spark ships for it.
const DAEMONS: [(&str, Role); 9] = [
    ("org.apache.spark.deploy.master.Master", Role::Master),
    ("start-master.sh", Role::Master),
    ("org.apache.spark.deploy.worker.Worker", Role::Worker),
    ("start-worker.sh", Role::Worker),
    ("start-slave.sh", Role::Worker),
    (
        "org.apache.spark.deploy.history.HistoryServer",
        Role::HistoryServer,
    ),
    ("start-history-server.sh", Role::HistoryServer),
    (
        "org.apache.spark.sql.connect.service.SparkConnectServer",
        Role::ConnectServer,
    ),
    ("start-connect-server.sh", Role::ConnectServer),
];

fn started(container: &Container<'_>) -> Option<Role> {
    let words = || {
        container
            .command
            .items()
            .iter()
            .chain(container.args.items())
    };
    words().find_map(|word| {
        DAEMONS
            .iter()
            .find(|(needle, _)| word.as_str().contains(needle))
            .map(|(_, role)| *role)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn role(pod: &serde_json::Value) -> Role {
        Role::detect(&PodView::from_value(pod).expect("readable"))
    }

    #[test]
    fn labels_tell_before_commands() {
        let pod = serde_json::json!({
            "metadata": {"labels": {"spark-role": "executor", "spark-app-selector": "spark-1"}},
            "spec": {"containers": [{"command": ["start-master.sh"]}]},
        });
        assert_eq!(role(&pod), Role::Executor);
    }

    #[test]
    fn standalone_daemons_are_told_by_class_or_script_even_inside_a_shell_line() {
        for (line, expected) in [
            (
                "/opt/spark/bin/spark-class org.apache.spark.deploy.master.Master",
                Role::Master,
            ),
            (
                "exec /opt/spark/sbin/start-worker.sh spark://spark-master:7077",
                Role::Worker,
            ),
            (
                "org.apache.spark.sql.connect.service.SparkConnectServer",
                Role::ConnectServer,
            ),
            ("start-history-server.sh", Role::HistoryServer),
            ("sleep 60", Role::None),
        ] {
            let pod = serde_json::json!({
                "spec": {"containers": [{"name": "side"}, {"command": ["/bin/sh", "-c"], "args": [line]}]},
            });
            assert_eq!(role(&pod), expected, "{line}");
        }
    }

    #[test]
    fn a_server_that_runs_as_a_driver_is_told_by_its_class() {
        let pod = serde_json::json!({
            "metadata": {"labels": {"spark-role": "driver"}},
            "spec": {"containers": [{"args": ["driver", "--class",
                "org.apache.spark.sql.connect.service.SparkConnectServer", "spark-internal"]}]},
        });
        assert_eq!(role(&pod), Role::ConnectServer);
    }

    #[test]
    fn a_strange_label_value_is_no_role() {
        let pod = serde_json::json!({"metadata": {"labels": {"spark-role": "king"}}});
        assert_eq!(role(&pod), Role::None);
    }

    #[test]
    fn every_role_has_its_own_word() {
        for role in Role::ALL {
            assert_eq!(Role::from_word(role.word()), Some(role));
        }
    }
}
