//! How large a picture is, by its own word: read before anything unpacks it, since a file of some bytes can unpack to gigabytes.
//!
//! It also decides what is a picture at all. Tesseract takes whatever it does not know for a list of names of files to read, so nothing
//! may get there that is not known here.

/// Frames and pages of one file.
const MAX_FRAMES: usize = 64;
/// Parts of a file that are looked at.
const MAX_PARTS: usize = 4096;

/// What a picture unpacks to: all frames and pages together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Extent {
    pub(super) pixels: u64,
    /// Of the widest and of the highest frame.
    pub(super) width: u64,
    pub(super) height: u64,
}

impl Extent {
    /// `None` for what has no inside.
    fn of(width: u64, height: u64) -> Option<Self> {
        (width > 0 && height > 0).then_some(Self {
            pixels: width.saturating_mul(height),
            width,
            height,
        })
    }

    /// With one more frame.
    fn with(self, other: Self) -> Self {
        Self {
            pixels: self.pixels.saturating_add(other.pixels),
            width: self.width.max(other.width),
            height: self.height.max(other.height),
        }
    }

    /// On a canvas, which has its own size.
    fn on(self, canvas: Self) -> Self {
        Self {
            pixels: self.pixels.max(canvas.pixels),
            width: self.width.max(canvas.width),
            height: self.height.max(canvas.height),
        }
    }
}

/// Reads the head of a picture; `None` for what is none, or is none of ours.
pub(super) fn measure(file: &[u8]) -> Option<Extent> {
    match file {
        [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1a, b'\n', ..] => png(file),
        [0xff, 0xd8, 0xff, ..] => jpeg(file),
        [b'G', b'I', b'F', b'8', b'7' | b'9', b'a', ..] => gif(file),
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => webp(file),
        [b'B', b'M', ..] => bmp(file),
        [b'I', b'I', 42, 0, ..] => tiff(file, u16::from_le_bytes, u32::from_le_bytes),
        [b'M', b'M', 0, 42, ..] => tiff(file, u16::from_be_bytes, u32::from_be_bytes),
        _ => None,
    }
}

fn bytes<const N: usize>(file: &[u8], at: usize) -> Option<[u8; N]> {
    file.get(at..at.checked_add(N)?)?.try_into().ok()
}

fn be16(file: &[u8], at: usize) -> Option<u64> {
    bytes(file, at).map(|two| u16::from_be_bytes(two).into())
}

fn le16(file: &[u8], at: usize) -> Option<u64> {
    bytes(file, at).map(|two| u16::from_le_bytes(two).into())
}

/// PNG §11.2.2: the first chunk is IHDR.
fn png(file: &[u8]) -> Option<Extent> {
    (file.get(12..16)? == b"IHDR").then_some(())?;
    let [width, height] = [16, 20].map(|at| bytes(file, at).map(u32::from_be_bytes));
    Extent::of(width?.into(), height?.into())
}

/// ITU-T T.81 B.2.2: the frame header, which is one of several markers.
fn jpeg(file: &[u8]) -> Option<Extent> {
    let mut at = 2;
    for _ in 0..MAX_PARTS {
        let [0xff, marker] = bytes(file, at)? else { return None };
        match marker {
            // Fill bytes may stand before a marker (B.1.1.2).
            0xff => at += 1,
            // Markers that stand alone.
            0x01 | 0xd0..=0xd7 => at += 2,
            0xc0..=0xc3 | 0xc5..=0xc7 | 0xc9..=0xcb | 0xcd..=0xcf => {
                return Extent::of(be16(file, at + 7)?, be16(file, at + 5)?);
            }
            // The data begins or the file ends, and there was no frame.
            0xd8..=0xda => return None,
            _ => at += 2 + usize::try_from(be16(file, at + 2)?.max(2)).ok()?,
        }
    }
    None
}

/// GIF89a: the screen, and each image, which may be larger than it.
fn gif(file: &[u8]) -> Option<Extent> {
    let table = |flags: u8| if flags & 0x80 == 0 { 0 } else { 3 << ((flags & 7) + 1) };
    // The screen may have no size; then the images have the say.
    let screen = Extent::of(le16(file, 6)?, le16(file, 8)?).unwrap_or_default();
    let mut at = 13 + table(*file.get(10)?);
    let mut whole = Extent::default();
    let mut frames = 0;
    loop {
        match file.get(at) {
            Some(0x21) => at += 2,
            Some(0x2c) => {
                frames += 1;
                if frames > MAX_FRAMES {
                    return None;
                }
                whole = whole.with(Extent::of(le16(file, at + 5)?, le16(file, at + 7)?)?);
                // The size of codes follows the table.
                at += 10 + table(*file.get(at + 9)?) + 1;
            }
            // A file that ends early ends here for its reader, too.
            Some(0x3b) | None => break,
            Some(_) => return None,
        }
        // Blocks of up to 255 bytes, until one of none.
        while let Some(length) = file.get(at) {
            at += 1 + usize::from(*length);
            if *length == 0 {
                break;
            }
        }
    }
    (frames > 0).then(|| whole.on(screen))
}

/// RFC 9649: the canvas of VP8X, and every image in the file.
fn webp(file: &[u8]) -> Option<Extent> {
    let le24 = |at| bytes(file, at).map(|[a, b, c]: [u8; 3]| u64::from(u32::from_le_bytes([a, b, c, 0])));
    let mut at = 12;
    let (mut whole, mut canvas) = (Extent::default(), Extent::default());
    for _ in 0..MAX_PARTS {
        let Some(kind) = bytes::<4>(file, at) else { break };
        let length = usize::try_from(u32::from_le_bytes(bytes(file, at + 4)?)).ok()?;
        let inside = at + 8;
        let part = match &kind {
            b"VP8X" => {
                canvas = canvas.on(Extent::of(le24(inside + 4)? + 1, le24(inside + 7)? + 1)?);
                Some(Extent::default())
            }
            // A frame of an animation: its size stands before its image.
            b"ANMF" => Extent::of(le24(inside + 6)? + 1, le24(inside + 9)? + 1),
            // RFC 6386 §9.1: fourteen bits each, behind the start code.
            b"VP8 " => Extent::of(le16(file, inside + 6)? & 0x3fff, le16(file, inside + 8)? & 0x3fff),
            b"VP8L" => {
                let bits = u32::from_le_bytes(bytes(file, inside + 1)?);
                Extent::of(u64::from(bits & 0x3fff) + 1, u64::from(bits >> 14 & 0x3fff) + 1)
            }
            _ => Some(Extent::default()),
        };
        whole = whole.with(part?);
        at = inside.checked_add(length)?.checked_add(length % 2)?;
    }
    (whole.pixels > 0).then(|| whole.on(canvas))
}

/// The information header, which tells its own size; heights may be negative.
fn bmp(file: &[u8]) -> Option<Extent> {
    if u32::from_le_bytes(bytes(file, 14)?) == 12 {
        return Extent::of(le16(file, 18)?, le16(file, 20)?);
    }
    let [width, height] = [18, 22].map(|at| bytes(file, at).map(i32::from_le_bytes));
    Extent::of(width?.unsigned_abs().into(), height?.unsigned_abs().into())
}

/// TIFF 6.0 §2: a chain of directories, one for each page, whose entries may be short or long.
fn tiff(file: &[u8], short: fn([u8; 2]) -> u16, long: fn([u8; 4]) -> u32) -> Option<Extent> {
    let mut whole = Extent::default();
    let mut next = 4;
    for _ in 0..=MAX_FRAMES {
        let at = usize::try_from(long(bytes(file, next)?)).ok()?;
        if at == 0 {
            return (whole.pixels > 0).then_some(whole);
        }
        let count = usize::from(short(bytes(file, at)?));
        let (mut width, mut height) = (0, 0);
        for entry in (0..count).map(|entry| at + 2 + entry * 12) {
            let value = match short(bytes(file, entry + 2)?) {
                3 => u32::from(short(bytes(file, entry + 8)?)),
                _ => long(bytes(file, entry + 8)?),
            };
            match short(bytes(file, entry)?) {
                // Of two, each reader may take another.
                256 if width == 0 => width = value,
                257 if height == 0 => height = value,
                256 | 257 => return None,
                _ => {}
            }
        }
        whole = whole.with(Extent::of(width.into(), height.into())?);
        next = at + 2 + count * 12;
    }
    // More pages than anybody should send, or a chain that bites its tail.
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk(kind: &[u8], inside: &[u8]) -> Vec<u8> {
        let length = u32::try_from(inside.len()).unwrap().to_le_bytes();
        [kind, &length, inside, &[0][..inside.len() % 2]].concat()
    }

    fn png_of(width: u32, height: u32) -> Vec<u8> {
        [
            b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR".as_slice(),
            &width.to_be_bytes(),
            &height.to_be_bytes(),
            &[8, 0, 0, 0, 0],
        ]
        .concat()
    }

    fn riff(chunks: &[Vec<u8>]) -> Vec<u8> {
        [b"RIFF\0\0\0\0WEBP".as_slice(), &chunks.concat()].concat()
    }

    /// A directory of two entries, little endian, which says where the next one is.
    fn page(width: u32, height: u16, next: u32) -> Vec<u8> {
        let long = [&256u16.to_le_bytes()[..], &[4, 0, 1, 0, 0, 0], &width.to_le_bytes()].concat();
        let short = [
            &257u16.to_le_bytes()[..],
            &[3, 0, 1, 0, 0, 0],
            &height.to_le_bytes(),
            &[0, 0],
        ]
        .concat();
        [&[2, 0][..], &long, &short, &next.to_le_bytes()].concat()
    }

    fn gif_image(width: u16, height: u16) -> Vec<u8> {
        let head = [&[0x2c, 0, 0, 0, 0][..], &width.to_le_bytes(), &height.to_le_bytes()].concat();
        // A table of two colours, the size of codes, and one block.
        [&head[..], &[0x80, 1, 2, 3, 4, 5, 6, 2, 2, 0xaa, 0xbb, 0]].concat()
    }

    fn extent(width: u64, height: u64, pixels: u64) -> Extent {
        Extent { pixels, width, height }
    }

    #[test]
    fn every_format_tells_its_size() {
        assert_eq!(measure(&png_of(640, 480)).unwrap(), extent(640, 480, 307_200));
        let bomb = measure(&png_of(u32::MAX, u32::MAX)).unwrap();
        assert!(bomb.pixels > 1 << 63);
        // An application segment with something like a frame in it, fill bytes, and a progressive frame.
        let jpeg = b"\xff\xd8\xff\xe0\x00\x06\xff\xc0\x00\x11\xff\xff\xc2\x00\x11\x08\x01\x00\x02\x00\x03";
        assert_eq!(measure(jpeg).unwrap(), extent(512, 256, 512 * 256));
        let screen = b"GIF89a\x0a\x00\x05\x00\x00\x00\x00";
        let comment = [0x21, 0xfe, 2, b'h', b'i', 0];
        let gif = [&screen[..], &comment, &gif_image(10, 5), &gif_image(3000, 2), &[0x3b]].concat();
        assert_eq!(measure(&gif).unwrap(), extent(3000, 5, 50 + 6000));
        let vp8 = chunk(b"VP8 ", &[0, 0, 0, 0x9d, 1, 0x2a, 0x80, 2, 0xe0, 1]);
        assert_eq!(
            measure(&riff(std::slice::from_ref(&vp8))).unwrap(),
            extent(640, 480, 307_200)
        );
        let canvas = chunk(b"VP8X", &[0, 0, 0, 0, 0xe7, 3, 0, 0xe7, 3, 0]);
        assert_eq!(
            measure(&riff(&[canvas, chunk(b"ODD ", b"x"), vp8])).unwrap(),
            extent(1000, 1000, 1_000_000)
        );
        let lossless = chunk(b"VP8L", &[0x2f, 0xff, 0xff, 0xff, 0x0f]);
        assert_eq!(measure(&riff(&[lossless])).unwrap(), extent(16384, 16384, 1 << 28));
        let mut bmp = [b"BM".as_slice(), &[0; 12], &[40, 0, 0, 0]].concat();
        bmp.extend([100i32.to_le_bytes(), (-50i32).to_le_bytes()].concat());
        assert_eq!(measure(&bmp).unwrap(), extent(100, 50, 5000));
        let tiff = [&b"II*\0\x08\0\0\0"[..], &page(70_000, 3, 38), &page(10, 20, 0)].concat();
        assert_eq!(measure(&tiff).unwrap(), extent(70_000, 20, 210_000 + 200));
    }

    #[test]
    fn what_is_no_picture_or_has_no_end_is_none() {
        let biting = [&b"II*\0\x08\0\0\0"[..], &page(10, 10, 8)].concat();
        let mut doubled = [&b"II*\0\x08\0\0\0"[..], &page(70_000, 3, 0)].concat();
        // The first entry, the width, once more.
        let more = [doubled[10..34].to_vec(), doubled[10..22].to_vec(), vec![0; 4]].concat();
        doubled.truncate(10);
        doubled[8] = 3;
        doubled.extend(more);
        let mut many = b"GIF89a\x0a\x00\x05\x00\x00\x00\x00".to_vec();
        many.extend(gif_image(1, 1).repeat(MAX_FRAMES + 1));
        for none in [
            &b""[..],
            b"/etc/passwd\n",
            b"RIFF\0\0\0\0WAVEfmt ",
            b"%PDF-1.7",
            b"P5 100000 100000 255\n",
            b"\xff\xd8\xff\xda\x00\x02",
            &png_of(0, 10),
            &biting,
            &doubled,
            &many,
            &riff(&[]),
        ] {
            assert_eq!(measure(none), None, "{none:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_surprise_the_reader(head in 0..7usize, tail in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
            let heads: [&[u8]; 7] = [b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF89a", b"RIFF\0\0\0\0WEBP", b"BM", b"II*\0", b"MM\0*"];
            let _ = measure(&[heads[head], &tail].concat());
        }
    }
}
