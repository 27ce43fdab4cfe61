//! Why a pod is refused or passed over, and what a person can do about it.
//!
//! Reasons are closed lists: metrics, logs and audit annotations use their codes, people read the
//! message and the remedy.

use std::fmt;

/// One thing that keeps a pod out of the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The rule that is broken.
    pub reason: Refusal,
    /// Where, as a JSON pointer into the pod.
    pub pointer: String,
    /// What is wrong there.
    pub message: String,
    /// What to do instead.
    pub remedy: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", place(&self.pointer), self.message)?;
        if !self.remedy.is_empty() {
            write!(f, "; {}", self.remedy)?;
        }
        write!(f, " [{}]", self.reason.code())
    }
}

/// A JSON pointer as people write field paths: `spec.containers[0].name`.
#[must_use]
pub fn place(pointer: &str) -> String {
    let mut path = String::with_capacity(pointer.len());
    for token in pointer.split('/').skip(1) {
        let token = token.replace("~1", "/").replace("~0", "~");
        if !token.is_empty() && token.bytes().all(|b| b.is_ascii_digit()) {
            path.push('[');
            path.push_str(&token);
            path.push(']');
        } else if token.contains(['.', '/']) {
            path.push_str("[\"");
            path.push_str(&token);
            path.push_str("\"]");
        } else {
            if !path.is_empty() {
                path.push('.');
            }
            path.push_str(&token);
        }
    }
    if path.is_empty() {
        path.push_str("pod");
    }
    path
}

macro_rules! coded {
    ($(#[$meta:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $code:literal,)* }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name { $($(#[$doc])* $variant,)* }

        impl $name {
            /// All of them, in the order documented.
            pub const ALL: &'static [$name] = &[$($name::$variant,)*];

            /// The stable code, kebab-case, that metrics, logs and audit annotations use.
            #[must_use]
            pub const fn code(self) -> &'static str {
                match self { $($name::$variant => $code,)* }
            }
        }
    };
}

coded! {
    /// Why a pod is refused.
    Refusal {
        /// The namespace is not known, so nothing can be decided: closed.
        NamespaceUnknown = "namespace-unknown",
        /// The pod's JSON is not a pod's.
        UnreadablePod = "unreadable-pod",
        /// There is no container to put a proxy beside.
        NoContainers = "no-containers",
        /// The pod lives in the node's network, which must never be redirected.
        HostNetwork = "host-network",
        /// The pod's containers could reach into the proxy's process.
        SharedProcesses = "shared-processes",
        /// A container runs as the proxy's user, whose traffic is not redirected.
        ProxyUid = "proxy-uid",
        /// A container may undo the redirection.
        NetworkCapability = "network-capability",
        /// A container is not confined and may undo the redirection.
        Privileged = "privileged",
        /// A container or volume has one of our names and is not ours.
        ReservedName = "reserved-name",
        /// Two containers have the same name, so that nobody can tell whose probe is whose.
        RepeatedName = "repeated-name",
        /// A container listens on one of the proxy's ports.
        ReservedPort = "reserved-port",
        /// A volume asks for a token in the proxy's name.
        TokenAudience = "token-audience",
        /// The pod asks to stay out and may not.
        OptOutDenied = "opt-out-denied",
        /// A key under our prefix that does not exist.
        UnknownKey = "unknown-key",
        /// A value that its key does not take.
        InvalidValue = "invalid-value",
        /// An exclusion that the baseline does not permit.
        ExclusionDenied = "exclusion-denied",
        /// Another mesh's proxy is in the pod.
        ForeignMesh = "foreign-mesh",
        /// The pod does not run on Linux.
        UnsupportedOs = "unsupported-os",
        /// The namespace's Pod Security level forbids what redirection needs.
        PodSecurity = "pod-security",
        /// `OpenShift` assigns user ids in the namespace and nobody granted more.
        OpenShiftScc = "openshift-scc",
    }
}

coded! {
    /// Why a pod is admitted as it is.
    SkipReason {
        /// The namespace does not ask for the mesh.
        NamespaceNotEnabled = "namespace-not-enabled",
        /// The namespace is never injected.
        NamespaceExcluded = "namespace-excluded",
        /// The pod asks to stay out and the baseline allows it.
        OptedOut = "opted-out",
        /// The pod already is as the plan would make it.
        AlreadyInjected = "already-injected",
        /// A node reports a pod that it runs from a file; nothing can be added to it.
        MirrorPod = "mirror-pod",
        /// Only the creation of pods is of interest.
        NotCreation = "not-a-creation",
        /// The pod's end has begun.
        Terminating = "terminating",
    }
}

impl SkipReason {
    /// The reason in a sentence.
    #[must_use]
    pub fn sentence(self) -> &'static str {
        match self {
            SkipReason::NamespaceNotEnabled => {
                "the namespace is not labelled sparkmesh.dev/injection=enabled"
            }
            SkipReason::NamespaceExcluded => "the namespace is on the list that is never injected",
            SkipReason::OptedOut => {
                "the pod is labelled sparkmesh.dev/injection=disabled and the baseline allows that"
            }
            SkipReason::AlreadyInjected => "the pod already carries exactly what would be added",
            SkipReason::MirrorPod => "the pod mirrors a file on its node and cannot be changed",
            SkipReason::NotCreation => "only the creation of a pod is of interest",
            SkipReason::Terminating => "the pod's end has begun",
        }
    }
}
