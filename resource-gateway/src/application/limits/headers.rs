//! What callers are told about their limits, in OpenAI's headers.

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::{
    domain::limits::{Measure, Reset},
    ports::rate_store::{Bucket, Mode, Standing},
};

/// One of the two kinds of limits that OpenAI tells of.
struct Family {
    limit: HeaderName,
    remaining: HeaderName,
    reset: HeaderName,
    measures: &'static [Measure],
}

const REQUESTS: Family = Family {
    limit: HeaderName::from_static("x-ratelimit-limit-requests"),
    remaining: HeaderName::from_static("x-ratelimit-remaining-requests"),
    reset: HeaderName::from_static("x-ratelimit-reset-requests"),
    measures: &[Measure::RequestsPerSecond, Measure::RequestsPerMinute],
};
const TOKENS: Family = Family {
    limit: HeaderName::from_static("x-ratelimit-limit-tokens"),
    remaining: HeaderName::from_static("x-ratelimit-remaining-tokens"),
    reset: HeaderName::from_static("x-ratelimit-reset-tokens"),
    measures: &[Measure::TokensPerMinute],
};
/// Names the limits that would have refused.
const SHADOW: HeaderName = HeaderName::from_static("x-ratelimit-shadow");

/// Tells of the tightest bucket of each kind: the one with the least left, and of such the one that takes longest.
pub(super) fn tell(buckets: &[Bucket], standings: &[Standing], headers: &mut HeaderMap) {
    for family in [REQUESTS, TOKENS] {
        let of_kind = buckets
            .iter()
            .zip(standings)
            .filter(|(bucket, _)| bucket.mode == Mode::Enforced && family.measures.contains(&bucket.key.measure));
        let tightest = of_kind.min_by_key(|(_, standing)| (standing.remaining, std::cmp::Reverse(standing.reset)));
        let Some((bucket, standing)) = tightest else { continue };
        headers.insert(family.limit, bucket.limit.into());
        headers.insert(family.remaining, standing.remaining.into());
        if let Ok(reset) = HeaderValue::try_from(Reset(standing.reset).to_string()) {
            headers.insert(family.reset, reset);
        }
    }
    let over = buckets.iter().zip(standings);
    for (bucket, _) in over.filter(|(bucket, standing)| bucket.mode == Mode::Shadow && standing.over) {
        headers.append(SHADOW, HeaderValue::from_static(bucket.key.measure.as_str()));
    }
}
