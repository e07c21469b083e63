//! Frames of HTTP/2, as a client that keeps no rule writes them.

/// With what a client begins: the preface, and a frame of settings without any.
pub(crate) const BEGINNING: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const RESET: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
pub(crate) const CONTINUATION: u8 = 9;
pub(crate) const END_HEADERS: u8 = 4;

pub(crate) fn frame(kind: u8, flags: u8, stream: u32, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).expect("short").to_be_bytes();
    let mut frame = length[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(body);
    frame
}

/// The header block of a call with this key, and more headers.
pub(crate) fn block(path: &str, key: &str, more: &[(&str, &str)]) -> Vec<u8> {
    let authorization = format!("Bearer {key}");
    let usual = [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", path),
        (":authority", "x"),
        ("te", "trailers"),
        ("content-type", "application/grpc"),
        ("authorization", &authorization),
    ];
    let mut block = Vec::new();
    for (name, value) in usual.iter().chain(more) {
        // A literal header that nobody is to remember, neither text compressed.
        block.push(0);
        push_text(&mut block, name);
        push_text(&mut block, value);
    }
    block
}

/// A length in seven bits of the first byte and as many as are needed of the next, then the text.
fn push_text(block: &mut Vec<u8>, text: &str) {
    let byte = |number: usize| u8::try_from(number).expect("seven bits");
    if text.len() < 127 {
        block.push(byte(text.len()));
    } else {
        block.push(127);
        let mut left = text.len() - 127;
        while left >= 128 {
            block.push(byte(left % 128) | 128);
            left /= 128;
        }
        block.push(byte(left));
    }
    block.extend(text.as_bytes());
}
