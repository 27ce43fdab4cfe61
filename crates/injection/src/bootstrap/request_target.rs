//! What the kubelet would ask an HTTP application for, given the `path` of its probe.
//!
//! The kubelet gives `path` to Go's URL parser and asks for what that makes of it. People rely on
//! the parser's leniency: a missing slash, a space, a fragment. This module refuses to judge them.

use std::fmt::Write;

/// Path and query for the request line: begins with `/`, visible ASCII only.
///
/// See `net/url` of Go's library: the fragment and any scheme and host are dropped, and what may
/// not stand in a URL is percent-encoded. A path that the parser refuses (a control character, a
/// `%` that begins no escape) is taken literally as a whole, with its `?` and `#`.
pub(super) fn request_target(path: &str) -> String {
    let url = path.split_once('#').map_or(path, |(url, _fragment)| url);
    let (before_query, query) = match url.split_once('?') {
        Some((before, query)) => (before, Some(query)),
        None => (url, None),
    };
    if url.contains(|c: char| c.is_ascii_control()) || !escapes_are_whole(before_query) {
        return literal(path);
    }
    let mut target = String::with_capacity(path.len() + 1);
    push_rooted(&mut target, without_host(before_query), |byte| byte == b'%');
    if let Some(query) = query {
        target.push('?');
        push_encoded(&mut target, query, |byte| matches!(byte, b'%' | b'?'));
    }
    target
}

fn literal(path: &str) -> String {
    let mut target = String::with_capacity(path.len() + 8);
    push_rooted(&mut target, path, |_| false);
    target
}

fn without_host(path: &str) -> &str {
    let behind_scheme = match path.split_once("://") {
        Some((scheme, rest)) if is_scheme(scheme) => Some(rest),
        _ => path.strip_prefix("//"),
    };
    behind_scheme.map_or(path, |rest| {
        rest.find('/').map_or("", |slash| &rest[slash..])
    })
}

fn is_scheme(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b))
}

fn escapes_are_whole(path: &str) -> bool {
    path.split('%')
        .skip(1)
        .all(|rest| rest.len() >= 2 && rest.bytes().take(2).all(|byte| byte.is_ascii_hexdigit()))
}

fn push_rooted(target: &mut String, path: &str, also_kept: fn(u8) -> bool) {
    if !path.starts_with('/') {
        target.push('/');
    }
    push_encoded(target, path, also_kept);
}

fn push_encoded(target: &mut String, text: &str, also_kept: fn(u8) -> bool) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric()
            || b"-._~!$&'()*+,;=:@[]/".contains(&byte)
            || also_kept(byte)
        {
            target.push(char::from(byte));
        } else {
            write!(target, "%{byte:02X}").expect("a String takes every write");
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_application_is_asked_as_the_kubelet_would_ask() {
        for (path, expected) in [
            ("/healthz", "/healthz"),
            ("/healthz?full=1&x=a?b", "/healthz?full=1&x=a?b"),
            ("healthz", "/healthz"),
            ("", "/"),
            ("?ready", "/?ready"),
            ("/a b", "/a%20b"),
            ("/a%20b%2F", "/a%20b%2F"),
            ("/hé\"{}", "/h%C3%A9%22%7B%7D"),
            ("/page#part", "/page"),
            ("//healthz", "/"),
            ("//host/x", "/x"),
            ("http://host:1/x?y", "/x?y"),
            ("/a://b", "/a://b"),
            ("/100%?x#y", "/100%25%3Fx%23y"),
            ("/%zz", "/%25zz"),
            ("/a\r\nHost: evil", "/a%0D%0AHost:%20evil"),
        ] {
            assert_eq!(request_target(path), expected, "{path:?}");
        }
    }

    proptest! {
        #[test]
        fn no_path_leaves_the_request_line(path in any::<String>()) {
            let target = request_target(&path);
            prop_assert!(target.starts_with('/'));
            prop_assert!(target.bytes().all(|byte| byte.is_ascii_graphic()));
        }
    }
}
