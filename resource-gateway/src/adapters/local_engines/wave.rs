//! Sound as samples: WAV files in and out, and from one rate to another.

use std::f64::consts::PI;

/// What a file may say of itself.
const RATES: std::ops::RangeInclusive<u32> = 8_000..=96_000;
/// Zero crossings of the filter on each side. With sixteen of them what lies above the new rate's half is gone, but for a thousandth.
const REACH: usize = 16;

/// One channel of 16-bit samples.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Sound {
    pub(super) rate: u32,
    pub(super) samples: Vec<i16>,
}

/// Why a file cannot be heard. The text is a sentence about the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unheard {
    #[error("The recording must be a WAV file.")]
    NotWave,
    #[error("The recording must be PCM of 8 or 16 bits, with one channel or two.")]
    Encoding,
    #[error("The recording must have from 8,000 to 96,000 samples a second.")]
    Rate,
    #[error("The recording is empty.")]
    Empty,
    #[error("The recording is too long.")]
    TooLong,
}

/// How samples lie in a file.
#[derive(Debug, Clone, Copy)]
struct Layout {
    channels: u16,
    rate: u32,
    bits: u16,
}

impl Sound {
    pub(super) fn seconds(&self) -> f64 {
        let samples = u32::try_from(self.samples.len()).unwrap_or(u32::MAX);
        f64::from(samples) / f64::from(self.rate.max(1))
    }

    /// Reads a WAV file of at most so many seconds, and mixes two channels into one.
    pub(super) fn read(file: &[u8], most_seconds: u32) -> Result<Self, Unheard> {
        let (layout, data) = open(file)?;
        let step = usize::from(layout.bits / 8) * usize::from(layout.channels);
        let count = data.len() / step;
        if count == 0 {
            return Err(Unheard::Empty);
        }
        if count as u64 > u64::from(most_seconds) * u64::from(layout.rate) {
            return Err(Unheard::TooLong);
        }
        let samples = data.chunks_exact(step).map(|frame| mixed(frame, layout.bits)).collect();
        Ok(Self {
            rate: layout.rate,
            samples,
        })
    }

    /// As a RIFF file.
    pub(super) fn to_wav(&self) -> Vec<u8> {
        let length = u32::try_from(self.samples.len() * 2).unwrap_or(u32::MAX);
        let mut file = Vec::with_capacity(44 + self.samples.len() * 2);
        file.extend_from_slice(b"RIFF");
        file.extend_from_slice(&length.saturating_add(36).to_le_bytes());
        file.extend_from_slice(b"WAVEfmt \x10\0\0\0");
        // PCM, one channel; two bytes a sample, 16 bits.
        file.extend_from_slice(&[1, 0, 1, 0]);
        file.extend_from_slice(&self.rate.to_le_bytes());
        file.extend_from_slice(&self.rate.saturating_mul(2).to_le_bytes());
        file.extend_from_slice(&[2, 0, 16, 0]);
        file.extend_from_slice(b"data");
        file.extend_from_slice(&length.to_le_bytes());
        file.extend(self.samples.iter().flat_map(|sample| sample.to_le_bytes()));
        file
    }

    /// The samples alone.
    pub(super) fn to_pcm(&self) -> Vec<u8> {
        self.samples.iter().flat_map(|sample| sample.to_le_bytes()).collect()
    }

    /// The same sound at another rate: a low-pass filter by windowed sinc, evaluated where the new samples lie.
    pub(super) fn at_rate(&self, rate: u32) -> Self {
        if rate == self.rate {
            return self.clone();
        }
        let filter = Filter::between(self.rate, rate);
        Self {
            rate,
            samples: filter.run(&self.samples),
        }
    }
}

/// Finds the sound in a RIFF file.
fn open(file: &[u8]) -> Result<(Layout, &[u8]), Unheard> {
    let long = |at: usize| Some(u32::from_le_bytes(file.get(at..at.checked_add(4)?)?.try_into().ok()?));
    if !file.starts_with(b"RIFF") || file.get(8..12) != Some(b"WAVE") {
        return Err(Unheard::NotWave);
    }
    let (mut at, mut layout) = (12, None);
    loop {
        let (kind, length) = file.get(at..at + 4).zip(long(at + 4)).ok_or(Unheard::NotWave)?;
        let (inside, length) = (at + 8, usize::try_from(length).unwrap_or(usize::MAX));
        let rest = file.get(inside..).unwrap_or_default();
        match kind {
            b"fmt " => layout = Some(read_layout(rest.get(..length).ok_or(Unheard::NotWave)?)?),
            // Who writes to a pipe does not know the length yet and writes a very great one.
            b"data" => {
                let data = rest.get(..length.min(rest.len())).unwrap_or_default();
                return layout.map(|layout| (layout, data)).ok_or(Unheard::NotWave);
            }
            _ => {}
        }
        // Chunks begin at even places.
        let next = inside.checked_add(length).and_then(|next| next.checked_add(length % 2));
        at = next.filter(|next| *next < file.len()).ok_or(Unheard::NotWave)?;
    }
}

fn read_layout(chunk: &[u8]) -> Result<Layout, Unheard> {
    let short = |at: usize| {
        chunk
            .get(at..at + 2)
            .map(|two| two.iter().rev().fold(0u16, |sum, byte| sum << 8 | u16::from(*byte)))
    };
    let rate = chunk
        .get(4..8)
        .and_then(|four| four.try_into().ok())
        .map(u32::from_le_bytes);
    let (Some(tag), Some(channels), Some(rate), Some(bits)) = (short(0), short(2), rate, short(14)) else {
        return Err(Unheard::NotWave);
    };
    // The extensible form has the real tag at the beginning of its subformat.
    let tag = if tag == 0xfffe { short(24).unwrap_or(tag) } else { tag };
    if tag != 1 || !matches!(bits, 8 | 16) || !matches!(channels, 1 | 2) {
        return Err(Unheard::Encoding);
    }
    if !RATES.contains(&rate) {
        return Err(Unheard::Rate);
    }
    Ok(Layout { channels, rate, bits })
}

/// One sample of all channels. Eight bits are unsigned, sixteen are not.
fn mixed(frame: &[u8], bits: u16) -> i16 {
    let sum: i32 = match bits {
        8 => frame.iter().map(|byte| (i32::from(*byte) - 128) * 256).sum(),
        _ => frame
            .as_chunks::<2>()
            .0
            .iter()
            .map(|two| i32::from(i16::from_le_bytes(*two)))
            .sum(),
    };
    let channels = frame.len() / usize::from(bits / 8);
    let mean = sum / i32::try_from(channels.max(1)).unwrap_or(1);
    i16::try_from(mean).unwrap_or(if mean < 0 { i16::MIN } else { i16::MAX })
}

/// From one rate to another. New samples lie at multiples of `down / up` between the old ones, so there are `up` different places
/// between two old samples, each with its own coefficients.
#[derive(Debug)]
struct Filter {
    up: usize,
    down: usize,
    /// Old samples that each new one is made of.
    taps: usize,
    coefficients: Vec<f32>,
}

#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    reason = "rates and numbers of taps are small, and coefficients need no more than 24 bits"
)]
impl Filter {
    fn between(from: u32, to: u32) -> Self {
        let divisor = greatest_divisor(from, to).max(1);
        let [up, down] = [to, from].map(|rate| (rate / divisor).max(1) as usize);
        // What the lower of both rates can hold passes.
        let band = (up as f64 / down as f64).min(1.0);
        let half = (REACH as f64 / band).ceil() as i32;
        let taps = usize::try_from(half * 2).unwrap_or(2);
        let mut coefficients = Vec::with_capacity(up * taps);
        for place in 0..up {
            let offset = place as f64 / up as f64;
            let row: Vec<f64> = (1 - half..=half)
                .map(|at| kernel(f64::from(at) - offset, band, f64::from(half)))
                .collect();
            // Each place lets a constant pass as it is.
            let sum: f64 = row.iter().sum();
            coefficients.extend(row.iter().map(|value| (value / sum) as f32));
        }
        Self {
            up,
            down,
            taps,
            coefficients,
        }
    }

    fn run(&self, samples: &[i16]) -> Vec<i16> {
        let half = self.taps / 2;
        let count = samples.len() * self.up / self.down;
        let mut out = Vec::with_capacity(count);
        // Silence before and behind, so that every window is whole.
        let mut padded = vec![0f32; half - 1];
        padded.extend(samples.iter().map(|sample| f32::from(*sample)));
        padded.resize(padded.len() + half + 1, 0.0);
        let (mut at, mut place) = (0, 0);
        for _ in 0..count {
            let window = padded.get(at..at + self.taps).unwrap_or_default();
            let row = self
                .coefficients
                .get(place * self.taps..(place + 1) * self.taps)
                .unwrap_or_default();
            let sum: f32 = window.iter().zip(row).map(|(sample, weight)| sample * weight).sum();
            out.push(sum.round() as i16);
            place += self.down;
            at += place / self.up;
            place %= self.up;
        }
        out
    }
}

/// sinc under a Blackman window.
fn kernel(at: f64, band: f64, half: f64) -> f64 {
    if at.abs() >= half {
        return 0.0;
    }
    let sinc = match at == 0.0 {
        true => 1.0,
        false => (PI * band * at).sin() / (PI * band * at),
    };
    let turn = PI * at / half;
    sinc * (0.42 + 0.5 * turn.cos() + 0.08 * (2.0 * turn).cos())
}

fn greatest_divisor(mut one: u32, mut other: u32) -> u32 {
    while other != 0 {
        (one, other) = (other, one % other);
    }
    one
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[expect(clippy::cast_possible_truncation, reason = "a tone is not that loud")]
    fn tone(hertz: f64, rate: u32, count: u32) -> Sound {
        let sample = |at: u32| ((f64::from(at) * hertz / f64::from(rate) * 2.0 * PI).sin() * 10_000.0).round() as i16;
        Sound {
            rate,
            samples: (0..count).map(sample).collect(),
        }
    }

    /// The loudest sample, away from the edges.
    fn loudest(sound: &Sound) -> i16 {
        let inside = &sound.samples[500..sound.samples.len() - 500];
        inside.iter().map(|sample| sample.abs()).max().unwrap()
    }

    fn file(tag: u16, channels: u16, rate: u32, bits: u16, data: &[u8]) -> Vec<u8> {
        let length = u32::try_from(data.len()).unwrap();
        [
            b"RIFF\0\0\0\0WAVELIST\x03\0\0\0abc\0fmt \x10\0\0\0".as_slice(),
            &tag.to_le_bytes(),
            &channels.to_le_bytes(),
            &rate.to_le_bytes(),
            &[0; 6],
            &bits.to_le_bytes(),
            b"data",
            &length.to_le_bytes(),
            data,
        ]
        .concat()
    }

    #[test]
    fn what_is_written_is_read() {
        let sound = tone(440.0, 22_050, 2205);
        assert_eq!(Sound::read(&sound.to_wav(), 1).unwrap(), sound);
        assert!((sound.seconds() - 0.1).abs() < 1e-9);
        assert_eq!(sound.to_wav()[44..], sound.to_pcm());
        assert_eq!(Sound::read(&sound.to_wav(), 0), Err(Unheard::TooLong));
        // From a pipe.
        let mut endless = sound.to_wav();
        endless[40..44].fill(0xff);
        assert_eq!(Sound::read(&endless, 1).unwrap(), sound);
    }

    #[test]
    fn channels_are_mixed_and_eight_bits_are_as_loud_as_sixteen() {
        let stereo = [100i16, 300, -32_768, -32_768].map(i16::to_le_bytes).concat();
        assert_eq!(
            Sound::read(&file(1, 2, 8000, 16, &stereo), 1).unwrap().samples,
            [200, -32_768]
        );
        assert_eq!(
            Sound::read(&file(1, 1, 44_100, 8, &[128, 255, 0]), 1).unwrap().samples,
            [0, 32_512, -32_768]
        );
        for (bad, why) in [
            (file(3, 1, 8000, 32, &[0; 4]), Unheard::Encoding),
            (file(1, 6, 8000, 16, &[0; 12]), Unheard::Encoding),
            (file(1, 1, 0, 16, &[0; 2]), Unheard::Rate),
            (file(1, 1, 192_000, 16, &[0; 2]), Unheard::Rate),
            (file(1, 1, 8000, 16, &[0]), Unheard::Empty),
            (b"ID3 a song".to_vec(), Unheard::NotWave),
            (b"RIFF\0\0\0\0WAVE".to_vec(), Unheard::NotWave),
            (b"RIFF\0\0\0\0WAVEdata\x02\0\0\0ab".to_vec(), Unheard::NotWave),
        ] {
            assert_eq!(Sound::read(&bad, 10), Err(why));
        }
    }

    #[test]
    fn a_tone_keeps_its_pitch_and_loudness_at_any_rate() {
        for (from, to) in [
            (22_050, 24_000),
            (22_050, 16_000),
            (44_100, 16_000),
            (48_000, 16_000),
            (8_000, 16_000),
            (11_025, 16_000),
        ] {
            let heard = tone(1000.0, from, from).at_rate(to);
            assert!(heard.samples.len().abs_diff(to as usize) <= 1, "{from} to {to}");
            let wanted = tone(1000.0, to, to);
            let middle = 500..to as usize - 500;
            let off = heard.samples[middle.clone()]
                .iter()
                .zip(&wanted.samples[middle])
                .map(|(a, b)| (a - b).abs())
                .max();
            assert!(off.unwrap() < 30, "{from} to {to}: off by {off:?} of 10,000");
        }
    }

    #[test]
    fn what_the_new_rate_cannot_hold_is_gone_and_does_not_come_back_as_another_tone() {
        for (from, hertz) in [(44_100, 12_000.0), (48_000, 20_000.0), (22_050, 10_500.0)] {
            let heard = tone(hertz, from, from).at_rate(16_000);
            assert!(loudest(&heard) < 30, "{hertz} Hz at {from}: {}", loudest(&heard));
        }
    }

    proptest! {
        #[test]
        fn no_file_surprises_the_reader(tail in proptest::collection::vec(any::<u8>(), 0..80), tag in 0..3u16, channels in 0..4u16, bits in 0..33u16) {
            let _ = Sound::read(&[b"RIFF\0\0\0\0WAVE".as_slice(), &tail].concat(), 1);
            let _ = Sound::read(&file(tag, channels, 8000, bits, &tail), 1);
        }

    }

    proptest! {
        // Rates without a common divisor have large tables.
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn any_rate_goes(from in 8_000..96_000u32, samples in proptest::collection::vec(any::<i16>(), 1..50)) {
            let sound = Sound { rate: from, samples };
            let heard = sound.at_rate(16_000);
            let wanted = sound.samples.len() * 16_000 / from as usize;
            prop_assert!(heard.samples.len().abs_diff(wanted) <= 1);
        }
    }
}
