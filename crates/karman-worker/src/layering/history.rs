//! The history of an image whose layers are cut along packages: what each layer holds, and every instruction that was
//! there.

use karman_exporter::layering::{Cut, UnitInfo};
use karman_oci::{History, ImageConfig};

use super::units::Known;

/// Units named in one entry.
const MAX_NAMED: usize = 8;
/// Who made the layer.
const COMMENT: &str = "karman: layering=packages";

/// Rewrites the history of an image of `steps` layers for its cuts.
pub(super) fn rewrite(config: &mut ImageConfig, steps: usize, cuts: &[Cut], known: &Known) {
    let created = config.created.clone();
    let (packages, rests): (Vec<&Cut>, Vec<&Cut>) = cuts.iter().partition(|c| c.steps.is_empty());
    let entry = |cut: &&Cut| History {
        created: created.clone(),
        created_by: Some(title(cut, known)),
        comment: Some(COMMENT.to_owned()),
        ..History::default()
    };
    let mut history: Vec<History> = packages.iter().map(entry).collect();
    let before = std::mem::take(&mut config.history);
    let texts: Vec<History> = before.iter().filter(|h| !h.empty_layer).cloned().collect();
    // Without a word on any layer there is none to keep.
    let before = if texts.len() == steps { before } else { unknown(steps) };
    let mut step = 0;
    for entry in before {
        if entry.empty_layer {
            history.push(entry);
            continue;
        }
        let ends: Vec<&&Cut> = rests.iter().filter(|c| c.steps.last() == Some(&step)).collect();
        step += 1;
        if ends.is_empty() {
            history.push(History { empty_layer: true, ..entry });
            continue;
        }
        for cut in ends {
            history
                .push(History { comment: Some(rest_comment(cut, &known.units)), ..entry.clone() });
        }
    }
    config.history = history;
}

fn unknown(steps: usize) -> Vec<History> {
    let entry = History { created_by: Some("imported layer".to_owned()), ..History::default() };
    std::iter::repeat_n(entry, steps).collect()
}

fn rest_comment(cut: &Cut, units: &[UnitInfo]) -> String {
    let file = cut.units.iter().find_map(|at| units[*at].name.strip_prefix("file:"));
    match (cut.units.len(), file) {
        (1, Some(path)) => format!("{COMMENT}, {path}"),
        _ if cut.steps.len() > 1 => {
            format!("{COMMENT}, what {} steps wrote besides packages", cut.steps.len())
        }
        _ => format!("{COMMENT}, what it wrote besides packages"),
    }
}

/// The owners of a unit: `py:a+py:b` are two, `deb:libstdc++6` is one.
fn owners(name: &str) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    for piece in name.split('+') {
        match all.last_mut() {
            Some(last) if !piece.starts_with("deb:") && !piece.starts_with("py:") => {
                last.push('+');
                last.push_str(piece);
            }
            _ => all.push(piece.to_owned()),
        }
    }
    all
}

/// What a layer holds, for people.
pub(super) fn title(cut: &Cut, known: &Known) -> String {
    let unit = |at: &usize| {
        let name = &known.units[*at].name;
        let named = |part: String| {
            let part = part.as_str();
            let bare = part.split_once(':').map_or(part, |(_, bare)| bare);
            match known.versions.get(part) {
                Some(version) => format!("{bare} {version}"),
                None => bare.to_owned(),
            }
        };
        owners(name).into_iter().map(named).collect::<Vec<_>>().join(" with ")
    };
    let kind = cut.units.first().map_or("", |at| known.units[*at].name.as_str());
    let kind = match kind.split(':').next() {
        Some("deb") => "Debian: ",
        Some("py") => "Python: ",
        Some("step") => "step ",
        _ => "",
    };
    let named: Vec<String> = cut.units.iter().take(MAX_NAMED).map(unit).collect();
    match cut.units.len().saturating_sub(MAX_NAMED) {
        0 => format!("{kind}{}", named.join(", ")),
        more => format!("{kind}{} and {more} more", named.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use karman_oci::Digest;

    use super::*;

    fn known(names: &[(&str, Option<usize>)]) -> Known {
        let unit = |(name, step): &(&str, Option<usize>)| UnitInfo {
            name: (*name).to_owned(),
            step: *step,
            key: Digest::sha256_of(name.as_bytes()),
            size: 1,
        };
        let versions = [("deb:a".to_owned(), "1".to_owned())].into();
        Known { units: names.iter().map(unit).collect(), versions }
    }

    fn entry(text: &str, empty_layer: bool) -> History {
        History { created_by: Some(text.to_owned()), empty_layer, ..History::default() }
    }

    #[test]
    fn a_plus_in_a_name_is_no_second_owner() {
        assert_eq!(owners("deb:libstdc++6"), ["deb:libstdc++6"]);
        assert_eq!(owners("py:a+py:b"), ["py:a", "py:b"]);
        assert_eq!(owners("deb:g+++deb:b"), ["deb:g++", "deb:b"]);
    }

    #[test]
    fn instructions_stay_and_layers_are_told() {
        let known = known(&[("deb:a", None), ("file:/x", Some(1)), ("step:0001", Some(1))]);
        let mut config = ImageConfig {
            history: vec![entry("RUN a", false), entry("ENV b=c", true), entry("RUN d", false)],
            ..ImageConfig::default()
        };
        let cut =
            |units: &[usize], steps: &[usize]| Cut { units: units.into(), steps: steps.into() };
        rewrite(&mut config, 2, &[cut(&[0], &[]), cut(&[1], &[1]), cut(&[2], &[1])], &known);
        let told: Vec<(&str, bool)> = config
            .history
            .iter()
            .map(|h| (h.created_by.as_deref().unwrap_or_default(), h.empty_layer))
            .collect();
        let wanted = [
            ("Debian: a 1", false),
            ("RUN a", true),
            ("ENV b=c", true),
            ("RUN d", false),
            ("RUN d", false),
        ];
        assert_eq!(told, wanted);
    }

    #[test]
    fn an_image_without_history_gets_one() {
        let known = known(&[("step:0000", Some(0))]);
        let mut config = ImageConfig::default();
        rewrite(&mut config, 1, &[Cut { units: vec![0], steps: vec![0] }], &known);
        assert_eq!(config.history.len(), 1);
        assert!(!config.history[0].empty_layer);
    }
}
