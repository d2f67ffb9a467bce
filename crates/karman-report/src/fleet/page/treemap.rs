//! Rectangles whose areas are bytes, squarified (Bruls, Huizing, van Wijk: "Squarified Treemaps", 2000).

use std::collections::BTreeMap;

use super::super::model::{Fleet, Image, OriginKind};
use super::html::escape;
use crate::human_size;

const WIDTH: f64 = 1000.0;
const HEIGHT: f64 = 460.0;
/// Rectangles of a picture; the rest of each kind is one.
const MAX_RECTANGLES: usize = 90;
/// Smaller rectangles have no text.
const MIN_TEXT: (f64, f64) = (46.0, 18.0);
/// Width of a character, about.
const CHARACTER: f64 = 6.6;

/// One rectangle's content.
struct Item {
    kind: OriginKind,
    name: String,
    bytes: u64,
    note: String,
}

/// The origins of all images, each content once.
pub(super) fn of_fleet(fleet: &Fleet) -> String {
    let mut all: BTreeMap<_, (u64, usize)> = BTreeMap::new();
    for origin in fleet.images.iter().flat_map(|i| &i.origins) {
        let key = (origin.kind, origin.name.as_str(), origin.version.as_str(), origin.digest);
        all.entry(key).or_insert((origin.bytes, 0)).1 += 1;
    }
    let items = all.into_iter().map(|((kind, name, version, _), (bytes, images))| {
        let plural = if images == 1 { "image" } else { "images" };
        let note = format!("{version}, in {images} {plural}");
        Item { kind, name: name.to_owned(), bytes, note: note.trim_start_matches(", ").to_owned() }
    });
    let text = "<p>Unpacked bytes by the Debian package, the Python distribution or the instruction \
                that brought them; what several images have alike counts once.</p>\n";
    text.to_owned() + &picture("Bytes of the fleet by origin", items.collect())
}

/// The origins of one image.
pub(super) fn of_image(image: &Image, at: usize) -> String {
    let items = image.origins.iter().map(|o| Item {
        kind: o.kind,
        name: o.name.clone(),
        bytes: o.bytes,
        note: o.version.clone(),
    });
    picture(&format!("Bytes of image {} by origin", at + 1), items.collect())
}

fn picture(label: &str, items: Vec<Item>) -> String {
    let items = merged(items);
    let total: u64 = items.iter().map(|i| i.bytes).sum();
    if total == 0 {
        return "<p>It has no files.</p>\n".to_owned();
    }
    let sizes: Vec<f64> = items.iter().map(|i| i.bytes as f64).collect();
    let rectangles = squarify(&sizes, WIDTH, HEIGHT);
    let mut out = format!(
        "{}<div class=\"scroll\" tabindex=\"0\"><svg class=\"treemap\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"group\" aria-label=\"{}\">\n",
        legend(&items),
        escape(label)
    );
    for (item, rectangle) in items.iter().zip(rectangles) {
        out.push_str(&drawn(item, rectangle));
    }
    out + "</svg></div>\n"
}

/// The largest items, the largest first; the rest of each kind as one.
fn merged(mut items: Vec<Item>) -> Vec<Item> {
    items.retain(|i| i.bytes > 0);
    items.sort_by(|a, b| {
        b.bytes
            .cmp(&a.bytes)
            .then_with(|| (a.kind, &a.name, &a.note).cmp(&(b.kind, &b.name, &b.note)))
    });
    let rest = items.split_off(items.len().min(MAX_RECTANGLES));
    let mut sums: BTreeMap<OriginKind, (u64, usize)> = BTreeMap::new();
    for item in rest {
        let sum = sums.entry(item.kind).or_default();
        *sum = (sum.0 + item.bytes, sum.1 + 1);
    }
    items.extend(sums.into_iter().map(|(kind, (bytes, count))| Item {
        kind,
        name: format!("{count} more"),
        bytes,
        note: kind.label().to_owned(),
    }));
    items.sort_by_key(|i| std::cmp::Reverse(i.bytes));
    items
}

fn legend(items: &[Item]) -> String {
    let used = OriginKind::ALL.into_iter().filter(|kind| items.iter().any(|i| i.kind == *kind));
    let entry = |kind: OriginKind| {
        let bytes: u64 = items.iter().filter(|i| i.kind == kind).map(|i| i.bytes).sum();
        format!(
            "<li><span class=\"key {}\"></span>{} {}</li>\n",
            kind.class(),
            kind.label(),
            human_size(bytes)
        )
    };
    format!("<ul class=\"legend\">\n{}</ul>\n", used.map(entry).collect::<String>())
}

/// Left, top, width, height.
type Rectangle = [f64; 4];

fn drawn(item: &Item, [x, y, width, height]: Rectangle) -> String {
    let title = format!("{} ({}): {}", item.name, item.note, human_size(item.bytes));
    let mut text = String::new();
    if width >= MIN_TEXT.0 && height >= MIN_TEXT.1 {
        let fits = ((width - 8.0) / CHARACTER) as usize;
        let mut name: String = item.name.chars().take(fits).collect();
        if name.len() < item.name.len() {
            name.pop();
            name.push('…');
        }
        text = format!("<text x=\"{:.1}\" y=\"{:.1}\">{}</text>", x + 4.0, y + 14.0, escape(&name));
        if height >= 2.0 * MIN_TEXT.1 {
            let size = human_size(item.bytes);
            text.push_str(&format!(
                "<text class=\"size\" x=\"{:.1}\" y=\"{:.1}\">{size}</text>",
                x + 4.0,
                y + 29.0
            ));
        }
    }
    format!(
        "<g tabindex=\"0\" role=\"img\" aria-label=\"{0}\"><title>{0}</title>\
         <rect class=\"{1}\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{2:.1}\" height=\"{3:.1}\"/>{text}</g>\n",
        escape(&title),
        item.kind.class(),
        (width - 1.0).max(0.3),
        (height - 1.0).max(0.3)
    )
}

/// Rectangles for sizes in falling order that fill the area.
fn squarify(sizes: &[f64], width: f64, height: f64) -> Vec<Rectangle> {
    let total: f64 = sizes.iter().sum();
    let areas: Vec<f64> = sizes.iter().map(|s| s * width * height / total).collect();
    let mut out = Vec::with_capacity(areas.len());
    let mut free = [0.0, 0.0, width, height];
    let mut rest = areas.as_slice();
    while !rest.is_empty() {
        let side = free[2].min(free[3]);
        let mut taken = 1;
        while taken < rest.len() && worst(&rest[..=taken], side) <= worst(&rest[..taken], side) {
            taken += 1;
        }
        let (row, after) = rest.split_at(taken);
        free = place(row, free, &mut out);
        rest = after;
    }
    out
}

/// The worst ratio of sides in a row along a side.
fn worst(row: &[f64], side: f64) -> f64 {
    let sum: f64 = row.iter().sum();
    let (most, least) = row.iter().fold((0.0_f64, f64::MAX), |(m, l), a| (m.max(*a), l.min(*a)));
    let (side, sum) = (side * side, sum * sum);
    (side * most / sum).max(sum / (side * least))
}

/// Places a row along the shorter side; gives what is left free.
fn place(row: &[f64], [x, y, width, height]: Rectangle, out: &mut Vec<Rectangle>) -> Rectangle {
    let sum: f64 = row.iter().sum();
    if width >= height {
        let thick = if height > 0.0 { sum / height } else { 0.0 };
        let mut at = y;
        for area in row {
            let long = area / sum * height;
            out.push([x, at, thick, long]);
            at += long;
        }
        [x + thick, y, (width - thick).max(0.0), height]
    } else {
        let thick = if width > 0.0 { sum / width } else { 0.0 };
        let mut at = x;
        for area in row {
            let long = area / sum * width;
            out.push([at, y, long, thick]);
            at += long;
        }
        [x, y + thick, width, (height - thick).max(0.0)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rectangles_have_the_areas_and_fill_the_picture() {
        let sizes = [600.0, 600.0, 400.0, 300.0, 200.0, 200.0, 100.0, 0.001];
        let rectangles = squarify(&sizes, 600.0, 400.0);
        let total: f64 = sizes.iter().sum();
        for (size, [x, y, width, height]) in sizes.iter().zip(&rectangles) {
            assert!((width * height - size * 240_000.0 / total).abs() < 1e-6);
            assert!(*x >= 0.0 && *y >= 0.0 && x + width <= 600.001 && y + height <= 400.001);
            // The paper's example has no ratio above 3 among the large ones.
            assert!(*size < 1.0 || (width / height).max(height / width) < 3.0);
        }
    }
}
