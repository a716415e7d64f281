//! Text, labels and faces in pictures.

use http::HeaderMap;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Number, Value, json};

use super::{
    FACES, LABELS, OCR, PATH, faults, no_such_model,
    picture::{Picture, PictureRequest},
    read, share,
};
use crate::{
    domain::{
        answer::{Answer, Face, FaceBox, Faces, Label, Labels, Line, Ocr},
        call::Call,
        fault::{Fault, FaultClass},
        interface::Capability,
    },
    ports::codec::{
        Codec, Decoded, EncodeError, Encoded, NoStream, Opening, Outcome, Received, StreamDecoder, Target, TokenUsage,
    },
};

/// `GeneralBasicOCR` or `GeneralAccurateOCR`, by the route's model.
#[derive(Debug, Clone, Copy, Default)]
pub struct TencentOcr;

/// `DetectLabel`.
#[derive(Debug, Clone, Copy, Default)]
pub struct TencentLabels;

/// `DetectFace`, or `CompareFace` for two pictures. The route's model is the version of the vendor's model of faces.
#[derive(Debug, Clone, Copy, Default)]
pub struct TencentFaces;

/// The two members that a picture can stand in.
#[derive(Clone, Copy)]
struct Names {
    base64: &'static str,
    url: &'static str,
}

const IMAGE: Names = Names {
    base64: "ImageBase64",
    url: "ImageUrl",
};
const FACE: Names = Names {
    base64: "Image",
    url: "Url",
};
const FACE_A: Names = Names {
    base64: "ImageA",
    url: "UrlA",
};
const FACE_B: Names = Names {
    base64: "ImageB",
    url: "UrlB",
};

/// A request as it is written: the pictures are copied from the caller's body to the vendor's and nowhere else.
struct Look<'a> {
    pictures: Vec<(Names, &'a Picture<'a>)>,
    fixed: Vec<(&'static str, &'a str)>,
    options: &'a Map<String, Value>,
}

impl Serialize for Look<'_> {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeMap as _;
        let pictures = self.pictures.iter().map(|(names, picture)| match picture {
            Picture::Base64(data) => (names.base64, data.as_ref()),
            Picture::Url(url) => (names.url, url.as_ref()),
        });
        let ours: Vec<_> = pictures.chain(self.fixed.iter().copied()).collect();
        let mut map = to.serialize_map(None)?;
        // The gateway's word goes before the caller's, and no name stands there twice.
        let of_pictures = self.pictures.iter().flat_map(|(names, _)| [names.base64, names.url]);
        let of_pictures: Vec<_> = of_pictures.collect();
        // Nor one picture in two ways, of which the vendor would look at the other.
        let is_ours = |name: &str| of_pictures.contains(&name) || ours.iter().any(|(known, _)| *known == name);
        for (name, value) in self.options.iter().filter(|(name, _)| !is_ours(name)) {
            map.serialize_entry(name, value)?;
        }
        for (name, value) in &ours {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

fn one_picture(answer: Answer) -> Outcome {
    Decoded {
        usage: Some(TokenUsage {
            images: 1,
            ..TokenUsage::default()
        }),
        ..Decoded::of(answer)
    }
    .into()
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Texts {
    text_detections: Vec<Detection>,
    #[serde(default)]
    language: Option<String>,
    #[serde(default)]
    angle: Option<f64>,
    /// As it was misspelt at first; it still comes.
    #[serde(default)]
    angel: Option<f64>,
    #[serde(default)]
    request_id: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Detection {
    #[serde(default)]
    detected_text: String,
    #[serde(default)]
    confidence: Option<f64>,
    #[serde(default)]
    polygon: Option<Vec<Corner>>,
    #[serde(default)]
    item_polygon: Option<Area>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Corner {
    x: Number,
    y: Number,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Area {
    x: Number,
    y: Number,
    width: Number,
    height: Number,
}

impl From<Area> for FaceBox {
    fn from(area: Area) -> Self {
        Self {
            x: area.x,
            y: area.y,
            width: area.width,
            height: area.height,
        }
    }
}

impl From<Detection> for Line {
    fn from(detection: Detection) -> Self {
        let corners = detection.polygon.unwrap_or_default().into_iter();
        let area = detection.item_polygon.map(FaceBox::from);
        let more = area.map(|area| ("box".to_owned(), json!(area)));
        Self {
            text: detection.detected_text,
            confidence: detection.confidence.map(share),
            polygon: corners.map(|corner| [corner.x, corner.y]).collect(),
            more: more.into_iter().collect(),
        }
    }
}

impl Codec for TencentOcr {
    fn path(&self) -> &'static str {
        PATH
    }

    fn home(&self) -> Option<&'static str> {
        Some(OCR.home)
    }

    fn encode(&self, call: &Call, target: Target<'_>) -> Result<Encoded, EncodeError> {
        let action = match target.model {
            "GeneralBasicOCR" => "GeneralBasicOCR",
            "GeneralAccurateOCR" => "GeneralAccurateOCR",
            _ => return Err(no_such_model(Capability::Ocr).into()),
        };
        let body = call.body();
        let request = PictureRequest::read(&body)?;
        let look = Look {
            pictures: vec![(IMAGE, &request.image)],
            fixed: Vec::new(),
            options: &request.options,
        };
        Ok(OCR.call(action, &look))
    }

    fn decode(&self, call: &Call, reply: Received<'_>) -> Result<Outcome, Fault> {
        let found: Texts = read(&reply.body)?;
        let lines: Vec<Line> = found.text_detections.into_iter().map(Line::from).collect();
        let text: Vec<_> = lines.iter().map(|line| line.text.as_str()).collect();
        let mut more = Map::new();
        if let Some(angle) = found.angle.or(found.angel) {
            more.insert("angle".to_owned(), angle.into());
        }
        if let Some(language) = found.language.filter(|language| !language.is_empty()) {
            more.insert("language".to_owned(), language.into());
        }
        Ok(one_picture(Answer::Ocr(Ocr {
            id: found.request_id.unwrap_or_default(),
            model: call.model.clone(),
            text: text.join("\n"),
            lines,
            filtered: 0,
            usage: None,
            more,
        })))
    }

    fn decode_fault(&self, status: u16, headers: &HeaderMap, body: &[u8]) -> Fault {
        faults::decode(status, headers, body)
    }

    fn stream(&self, _call: &Call, _: Opening<'_>) -> Box<dyn StreamDecoder> {
        Box::new(NoStream)
    }
}

/// Each scene has a list of its own.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Scenes {
    #[serde(default)]
    labels: Option<Vec<Named>>,
    #[serde(default)]
    camera_labels: Option<Vec<Named>>,
    #[serde(default)]
    album_labels: Option<Vec<Named>>,
    #[serde(default)]
    news_labels: Option<Vec<Named>>,
    #[serde(default)]
    request_id: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Named {
    name: String,
    #[serde(default)]
    confidence: Option<f64>,
    #[serde(default)]
    first_category: Option<String>,
    #[serde(default)]
    second_category: Option<String>,
}

impl Named {
    fn label(self, scene: &str) -> Label {
        let told = [
            ("category", self.first_category),
            ("subcategory", self.second_category),
            ("scene", Some(scene.to_owned())),
        ];
        let told = told.into_iter().filter_map(|(name, text)| Some((name, text?)));
        Label {
            name: self.name,
            confidence: self.confidence.map(share),
            more: told
                .filter(|(_, text)| !text.is_empty())
                .map(|(name, text)| (name.to_owned(), text.into()))
                .collect(),
        }
    }
}

impl Codec for TencentLabels {
    fn path(&self) -> &'static str {
        PATH
    }

    fn home(&self) -> Option<&'static str> {
        Some(LABELS.home)
    }

    fn encode(&self, call: &Call, _: Target<'_>) -> Result<Encoded, EncodeError> {
        let body = call.body();
        let request = PictureRequest::read(&body)?;
        let look = Look {
            pictures: vec![(IMAGE, &request.image)],
            fixed: Vec::new(),
            options: &request.options,
        };
        Ok(LABELS.call("DetectLabel", &look))
    }

    fn decode(&self, _call: &Call, reply: Received<'_>) -> Result<Outcome, Fault> {
        let found: Scenes = read(&reply.body)?;
        let scenes = [
            (found.labels, ""),
            (found.camera_labels, "CAMERA"),
            (found.album_labels, "ALBUM"),
            (found.news_labels, "NEWS"),
        ];
        if found.request_id.is_none() && scenes.iter().all(|(labels, _)| labels.is_none()) {
            return Err(Fault::of(FaultClass::InvalidReply));
        }
        let labels = scenes.into_iter().flat_map(|(labels, scene)| {
            let labels = labels.unwrap_or_default().into_iter();
            labels.map(move |named| named.label(scene))
        });
        Ok(one_picture(Answer::Labels(Labels {
            labels: labels.collect(),
            filtered: 0,
            more: Map::new(),
        })))
    }

    fn decode_fault(&self, status: u16, headers: &HeaderMap, body: &[u8]) -> Fault {
        faults::decode(status, headers, body)
    }

    fn stream(&self, _call: &Call, _: Opening<'_>) -> Box<dyn StreamDecoder> {
        Box::new(NoStream)
    }
}

/// What was found, or how much alike two faces are.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Looked {
    #[serde(default)]
    face_infos: Option<Vec<FaceInfo>>,
    #[serde(default)]
    image_width: Option<Number>,
    #[serde(default)]
    image_height: Option<Number>,
    #[serde(default)]
    score: Option<f64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct FaceInfo {
    #[serde(flatten)]
    area: Area,
    #[serde(default)]
    face_attributes_info: Option<Map<String, Value>>,
    #[serde(default)]
    face_quality_info: Option<Quality>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Quality {
    #[serde(default)]
    score: Option<f64>,
}

impl From<FaceInfo> for Face {
    fn from(info: FaceInfo) -> Self {
        let mut attributes = Map::new();
        for (name, value) in info.face_attributes_info.unwrap_or_default() {
            let value = match (name.as_str(), value.as_f64()) {
                // From 0, a woman, to 100, a man.
                ("Gender", Some(gender)) => if gender < 50.0 { "female" } else { "male" }.into(),
                _ => value,
            };
            attributes.insert(snake(&name), value);
        }
        if let Some(score) = info.face_quality_info.and_then(|quality| quality.score) {
            attributes.insert("quality".to_owned(), share(score).into());
        }
        Self {
            // The vendor scores how good a face looks, not how sure it is of seeing one.
            confidence: None,
            r#box: info.area.into(),
            attributes,
            more: Map::new(),
        }
    }
}

/// `EyeOpen` as `eye_open`.
fn snake(name: &str) -> String {
    let mut out = String::with_capacity(name.len() + 4);
    for c in name.chars() {
        if c.is_ascii_uppercase() && !out.is_empty() {
            out.push('_');
        }
        out.push(c.to_ascii_lowercase());
    }
    out
}

impl Codec for TencentFaces {
    fn path(&self) -> &'static str {
        PATH
    }

    fn home(&self) -> Option<&'static str> {
        Some(FACES.home)
    }

    fn encode(&self, call: &Call, target: Target<'_>) -> Result<Encoded, EncodeError> {
        let body = call.body();
        let request = PictureRequest::read(&body)?;
        // Versions are numbers; any other name of a model leaves it to the vendor.
        let is_version = target.model.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
        let version = is_version.then_some(("FaceModelVersion", target.model));
        let (action, pictures) = match &request.compare_to {
            None => ("DetectFace", vec![(FACE, &request.image)]),
            Some(other) => ("CompareFace", vec![(FACE_A, &request.image), (FACE_B, other)]),
        };
        let look = Look {
            pictures,
            fixed: version.into_iter().collect(),
            options: &request.options,
        };
        Ok(FACES.call(action, &look))
    }

    fn decode(&self, _call: &Call, reply: Received<'_>) -> Result<Outcome, Fault> {
        let found: Looked = read(&reply.body)?;
        let mut more = Map::new();
        let faces = match (found.face_infos, found.score) {
            (Some(faces), _) => faces.into_iter().map(Face::from).collect(),
            (None, Some(score)) => {
                more.insert("similarity".to_owned(), share(score).into());
                Vec::new()
            }
            (None, None) => return Err(Fault::of(FaultClass::InvalidReply)),
        };
        if let (Some(width), Some(height)) = (found.image_width, found.image_height) {
            more.insert("image".to_owned(), json!({"width": width, "height": height}));
        }
        Ok(one_picture(Answer::Faces(Faces {
            faces,
            filtered: 0,
            more,
        })))
    }

    fn decode_fault(&self, status: u16, headers: &HeaderMap, body: &[u8]) -> Fault {
        faults::decode(status, headers, body)
    }

    fn stream(&self, _call: &Call, _: Opening<'_>) -> Box<dyn StreamDecoder> {
        Box::new(NoStream)
    }
}
