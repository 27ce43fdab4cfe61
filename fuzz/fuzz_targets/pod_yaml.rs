//! From a manifest's text to its pods, into the mesh and out of it again. A first byte that no text
//! begins with makes the rest choose a pod, which is then written as YAML.

#![no_main]

use arbitrary::Unstructured;
use libfuzzer_sys::fuzz_target;
use sparkmesh::offline::documents::pods;
use sparkmesh::yaml;
use sparkmesh_fuzz::{journey, shape};

fuzz_target!(|bytes: &[u8]| {
    let made;
    let text = match bytes {
        [0xff, rest @ ..] => {
            let Ok(pod) = shape::pod(&mut Unstructured::new(rest)) else {
                return;
            };
            made = yaml::to_string(&pod);
            let read = yaml::documents(&made).expect("our own YAML can be read");
            if !pod.is_null() {
                assert_eq!(read, [pod.clone()], "YAML says what was meant");
            }
            journey::follow(&pod);
            return;
        }
        _ => match std::str::from_utf8(bytes) {
            Ok(text) => text,
            Err(_) => return,
        },
    };
    let Ok(documents) = yaml::documents(text) else {
        return;
    };
    for document in &documents {
        let written = yaml::to_string(document);
        let read = yaml::documents(&written).expect("our own YAML can be read");
        assert_eq!(
            read,
            std::slice::from_ref(document),
            "YAML says what was meant"
        );
        for place in pods(document) {
            let pod = document.pointer(&place.pointer).expect("found there");
            journey::follow(pod);
        }
    }
});
