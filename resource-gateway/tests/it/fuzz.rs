//! A bounded run of the fuzzing targets: their parsers, on sound inputs and on what becomes of them by cutting, doubling and changing.

#[path = "../../../fuzz/src/gateway.rs"]
#[expect(unreachable_pub, reason = "the targets are crates of their own")]
mod gateway;

/// Inputs of each parser in one run: a second of work for all of them.
const INPUTS: u64 = 20_000;

/// Sound inputs, so that changes reach behind the first check.
const SEEDS: [&str; 8] = [
    "files/v1/things/th%C3%AF.ng?limit=5&after=%20x&tags[]=a",
    "files/a/b;c?method=linear",
    "/v1/things/*/parts/**",
    "/a/%7eb/%c3%bc:x?z=1&a=b%20c&&a&q=%2f",
    "/v1/raw/files/things?x=%2B;y=1",
    "HEXGATE-HMAC-SHA256 Credential=hgk_1, Expires=300, \
     SignedHeaders=host;x-hexgate-content-sha256;x-hexgate-date;x-hexgate-nonce, \
     Signature=e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "/..%2f%2e%2E/;x\\y//z",
    "@evil.test:80/x?access_token=y&_method=DELETE",
];

/// SplitMix64: the same inputs in every run, on every machine.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % u64::try_from(sides.max(1)).unwrap_or(1)).unwrap_or(0)
    }

    /// One of the usual accidents and tricks.
    fn change(&mut self, bytes: &mut Vec<u8>) {
        const TRICKS: [&[u8]; 14] = [
            b"\0",
            b"\xff\xfe",
            b"%00",
            b"%",
            b"..",
            b"\r\n",
            b"//",
            b"%2f",
            b"%2e",
            b"%25",
            b"\\",
            b";",
            b"*",
            b"?",
        ];
        let at = self.roll(bytes.len() + 1);
        let end = (at + self.roll(12)).min(bytes.len());
        match self.roll(5) {
            0 => bytes.truncate(at),
            1 => drop(bytes.drain(at.min(end)..end)),
            2 => {
                let piece: Vec<u8> = bytes.iter().copied().take(end).skip(at).collect();
                bytes.splice(at..at, piece.into_iter().cycle().take(64));
            }
            3 => {
                let trick = TRICKS[self.roll(TRICKS.len())];
                bytes.splice(at..at, trick.iter().copied());
            }
            _ => {
                let new = u8::try_from(self.roll(256)).unwrap_or(0);
                if let Some(byte) = bytes.get_mut(at) {
                    *byte = new;
                }
            }
        }
    }
}

#[test]
fn no_parser_of_strangers_bytes_panics_or_reads_its_own_words_differently() {
    for (name, parse) in gateway::GATEWAY_PARSERS {
        for seed in SEEDS {
            parse(seed.as_bytes());
        }
        for input in 0..INPUTS {
            let mut dice = Dice(input);
            let mut bytes = SEEDS[dice.roll(SEEDS.len())].as_bytes().to_vec();
            for _ in 0..=dice.roll(4) {
                dice.change(&mut bytes);
            }
            let outcome = std::panic::catch_unwind(|| parse(&bytes));
            assert!(outcome.is_ok(), "{name}: {:?}", String::from_utf8_lossy(&bytes));
        }
    }
}
