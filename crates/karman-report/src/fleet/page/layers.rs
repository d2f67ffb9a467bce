//! Which image has which layer.

use super::super::{Fleet, Sharing};
use super::html::{bytes, escape};
use super::percent;
use crate::human_size;

/// Rows of the matrix; layers beyond are small or little shared, and counted in one row.
const MAX_ROWS: usize = 80;

/// One row a layer that several images have, one column an image.
pub(super) fn matrix(fleet: &Fleet, sharing: &Sharing) -> String {
    let shared: Vec<_> = sharing.layers.iter().filter(|(_, of)| of.len() > 1).collect();
    let own = sharing.layers.len() - shared.len();
    let bytes_shared: u64 = shared.iter().map(|(layer, _)| layer.size).sum();
    let mut out = format!(
        "<p>{} layers of {} ({}) are in more than one image; {own} belong to one image alone.</p>\n",
        shared.len(),
        human_size(bytes_shared),
        percent(bytes_shared, sharing.unique)
    );
    if shared.is_empty() {
        return out;
    }
    let heads: String = fleet
        .images
        .iter()
        .map(|i| format!("<th scope=\"col\" class=\"tilt\"><span>{}</span></th>", escape(&i.name)))
        .collect();
    out.push_str(&format!(
        "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"Shared layers\">\n<table class=\"matrix\">\n\
         <caption>Layers that several images have</caption>\n\
         <thead><tr><th scope=\"col\">Layer</th><th scope=\"col\" class=\"n\">Compressed</th>\
         <th scope=\"col\" class=\"n\">Images</th>{heads}</tr></thead>\n<tbody>\n"
    ));
    for (layer, of) in shared.iter().take(MAX_ROWS) {
        let name =
            if layer.title.is_empty() { layer.digest.to_string() } else { layer.title.clone() };
        let cells: String = (0..fleet.images.len())
            .map(|at| match of.contains(&at) {
                true => "<td class=\"has\"><span aria-label=\"yes\">●</span></td>",
                false => "<td></td>",
            })
            .collect();
        out.push_str(&format!(
            "<tr><th scope=\"row\" title=\"{}\">{}</th><td class=\"n\">{}</td><td class=\"n\">{}</td>{cells}</tr>\n",
            layer.digest,
            escape(&name),
            bytes(layer.size),
            of.len()
        ));
    }
    out.push_str("</tbody>\n</table>\n</div>\n");
    if let Some(rest) = shared.get(MAX_ROWS..).filter(|r| !r.is_empty()) {
        let sum: u64 = rest.iter().map(|(layer, _)| layer.size).sum();
        out.push_str(&format!(
            "<p>{} more with {} are in the JSON.</p>\n",
            rest.len(),
            human_size(sum)
        ));
    }
    out
}
