//! The colours of the style sheet against WCAG 2.2: text 4.5:1 (1.4.3), edges of controls and focus marks 3:1 (1.4.11).

use std::collections::BTreeMap;

const CSS: &str = include_str!("../../../../../../assets/app.css");

/// The variables of one `:root` block that are plain colours.
fn colours(block: &str) -> BTreeMap<&str, [f64; 3]> {
    block
        .split('}')
        .next()
        .unwrap()
        .split(';')
        .filter_map(|line| line.trim().split_once(": #"))
        .filter_map(|(name, hex)| {
            let channel = |at: usize| u8::from_str_radix(hex.get(at..at + 2)?, 16).ok().map(f64::from);
            Some((name.rsplit("--").next()?, [channel(0)?, channel(2)?, channel(4)?]))
        })
        .collect()
}

fn luminance(colour: [f64; 3]) -> f64 {
    let [red, green, blue] = colour.map(|channel| {
        let share = channel / 255.0;
        if share <= 0.04045 {
            share / 12.92
        } else {
            ((share + 0.055) / 1.055).powf(2.4)
        }
    });
    0.2126 * red + 0.7152 * green + 0.0722 * blue
}

fn ratio(one: [f64; 3], other: [f64; 3]) -> f64 {
    let (one, other) = (luminance(one), luminance(other));
    (one.max(other) + 0.05) / (one.min(other) + 0.05)
}

#[test]
fn every_pair_of_colours_can_be_read_by_day_and_by_night() {
    const TEXT: &[(&str, &[&str])] = &[
        ("ink", &["ground", "surface", "sunken"]),
        ("quiet", &["ground", "surface", "sunken"]),
        ("accent", &["ground", "surface", "sunken"]),
        ("accent-strong", &["ground", "surface", "sunken"]),
        ("on-accent", &["accent", "accent-strong"]),
        ("on-tint", &["tint"]),
        ("danger", &["surface", "danger-tint"]),
        ("on-warn", &["warn-tint"]),
    ];
    const EDGES: &[(&str, &[&str])] = &[("edge", &["ground", "surface"]), ("accent", &["ground", "surface"])];
    let blocks: Vec<_> = CSS.split(":root {").skip(1).take(2).map(colours).collect();
    assert_eq!(blocks.len(), 2, "light and dark");
    for (scheme, colours) in ["light", "dark"].iter().zip(blocks) {
        for (least, pairs) in [(4.5, TEXT), (3.0, EDGES)] {
            for (front, grounds) in pairs {
                for ground in *grounds {
                    let found = ratio(colours[front], colours[ground]);
                    assert!(found >= least, "{scheme}: {front} on {ground} is {found:.2}");
                }
            }
        }
    }
}
