//! Just enough of the protobuf wire format to be a control plane for one proxy.

pub(crate) fn message(number: u8, content: &[u8]) -> Vec<u8> {
    let mut out = vec![number << 3 | 2];
    push_varint(&mut out, content.len());
    out.extend_from_slice(content);
    out
}

pub(crate) fn text(number: u8, content: &str) -> Vec<u8> {
    message(number, content.as_bytes())
}

pub(crate) fn number(number: u8, value: usize) -> Vec<u8> {
    let mut out = vec![number << 3];
    push_varint(&mut out, value);
    out
}

/// A `google.protobuf.Any`.
pub(crate) fn any(kind: &str, value: &[u8]) -> Vec<u8> {
    [
        text(1, &format!("type.googleapis.com/{kind}")),
        message(2, value),
    ]
    .concat()
}

fn push_varint(out: &mut Vec<u8>, mut value: usize) {
    while value >= 0x80 {
        out.push(low_byte(value) | 0x80);
        value >>= 7;
    }
    out.push(low_byte(value));
}

/// The length-delimited fields of a message; other fields are passed over.
pub(crate) fn fields(mut rest: &[u8]) -> Vec<(u8, &[u8])> {
    let mut found = Vec::new();
    while !rest.is_empty() {
        let key = take_varint(&mut rest);
        let size = match key & 7 {
            0 => {
                take_varint(&mut rest);
                continue;
            }
            1 => 8,
            5 => 4,
            _ => take_varint(&mut rest),
        };
        let (content, after) = rest.split_at(size);
        rest = after;
        if key & 7 == 2 {
            found.push((low_byte(key >> 3), content));
        }
    }
    found
}

fn take_varint(rest: &mut &[u8]) -> usize {
    let mut value = 0;
    let mut shift = 0;
    loop {
        let (byte, after) = rest.split_first().expect("a whole varint");
        *rest = after;
        value |= usize::from(byte & 0x7f) << shift;
        shift += 7;
        if byte & 0x80 == 0 {
            return value;
        }
    }
}

/// A message in gRPC's frame.
pub(crate) fn framed(message: &[u8]) -> Vec<u8> {
    let size = u32::try_from(message.len()).expect("a short message");
    [&[0], &size.to_be_bytes()[..], message].concat()
}

/// Takes the first whole gRPC message off what has arrived.
pub(crate) fn take_framed(arrived: &mut Vec<u8>) -> Option<Vec<u8>> {
    let size = u32::from_be_bytes(arrived.get(1..5)?.try_into().ok()?) as usize;
    if arrived.len() < 5 + size {
        return None;
    }
    Some(arrived.drain(..5 + size).skip(5).collect())
}

fn low_byte(value: usize) -> u8 {
    value.to_le_bytes()[0]
}
