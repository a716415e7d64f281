//! The tables, after each vendor's documentation.

use super::{
    CallIds, Place, Quirks, SUPPORT, StreamUsage, ThinkingWord,
    faults::{azure, dashscope, deepseek, mistral, moonshot, qianfan, spark, volcengine, zhipu},
};
use crate::ports::chat::Support;

/// OpenAI took `max_completion_tokens` in the place of `max_tokens`, and `developer` in that of `system`; most others did not.
const OLDER_NAMES: &[(&str, &str)] = &[("max_completion_tokens", "max_tokens")];
const OLDER_ROLES: &[(&str, &str)] = &[("developer", "system")];
/// What a model thought is not part of the conversation.
const THOUGHTS: &[&str] = &["reasoning_content", "thinking_blocks"];
/// Of vendors whose lists of parameters have no `top_k`. Those whose lists are not known here take what servers of this format take.
const LISTED: Support = Support {
    top_k: false,
    ..SUPPORT
};

impl Quirks {
    pub const AZURE: Self = Self {
        place: Place::Deployment,
        support: LISTED,
        faults: Some(azure),
        ..Self::NONE
    };
    /// `reasoning_content` in later turns is refused with 400.
    pub const DEEPSEEK: Self = Self {
        support: LISTED,
        renames: OLDER_NAMES,
        roles: OLDER_ROLES,
        kept_back: THOUGHTS,
        faults: Some(deepseek),
        ..Self::NONE
    };
    /// Usage stands in the last choice.
    pub const MOONSHOT: Self = Self {
        support: LISTED,
        roles: OLDER_ROLES,
        stream_usage: StreamUsage::Unasked,
        faults: Some(moonshot),
        ..Self::NONE
    };
    pub const ZHIPU: Self = Self {
        support: LISTED,
        renames: OLDER_NAMES,
        roles: OLDER_ROLES,
        stream_usage: StreamUsage::Unknown,
        finishes: &[("sensitive", "content_filter")],
        faults: Some(zhipu),
        thinking: ThinkingWord::Type,
        ..Self::NONE
    };
    pub const VOLCENGINE: Self = Self {
        support: LISTED,
        roles: OLDER_ROLES,
        faults: Some(volcengine),
        thinking: ThinkingWord::Type,
        ..Self::NONE
    };
    /// Members that it does not know are refused with 422, those of messages too.
    pub const MISTRAL: Self = Self {
        support: Support {
            logprobs: false,
            user: false,
            names: false,
            openai: &["metadata", "prediction", "prompt_cache_key", "prompt_cache_retention"],
            ..LISTED
        },
        refuses_unknown: true,
        renames: &[
            ("max_completion_tokens", "max_tokens"),
            ("seed", "random_seed"),
            ("dimensions", "output_dimension"),
        ],
        words: &[("tool_choice", "required", "any")],
        roles: OLDER_ROLES,
        kept_back: THOUGHTS,
        call_ids: CallIds::Nine,
        stream_usage: StreamUsage::Unknown,
        finishes: &[("model_length", "length")],
        faults: Some(mistral),
        ..Self::NONE
    };
    pub const QIANFAN: Self = Self {
        roles: OLDER_ROLES,
        finishes: &[("normal", "stop")],
        faults: Some(qianfan),
        app_id_header: Some("appid"),
        thinking: ThinkingWord::Switch("enable_thinking"),
        ..Self::NONE
    };
    /// The HTTP mode. There is no `finish_reason` in whole answers of some versions.
    pub const SPARK: Self = Self {
        renames: OLDER_NAMES,
        roles: OLDER_ROLES,
        stream_usage: StreamUsage::Unasked,
        finish_may_miss: true,
        code_fails: true,
        faults: Some(spark),
        ..Self::NONE
    };
    /// DashScope's compatible mode.
    pub const DASHSCOPE: Self = Self {
        roles: OLDER_ROLES,
        faults: Some(dashscope),
        thinking: ThinkingWord::Switch("enable_thinking"),
        ..Self::NONE
    };
    /// Tencent's Hunyuan.
    pub const HUNYUAN: Self = Self {
        renames: OLDER_NAMES,
        roles: OLDER_ROLES,
        finishes: &[("sensitive", "content_filter")],
        ..Self::NONE
    };
}
