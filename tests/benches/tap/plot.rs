//! A picture: what an echo costs while more and more connections are open.

use super::report::{Figures, Metric};
use super::setup::Peer;
use core::error::Error;
use plotters::prelude::*;

pub(crate) fn draw(
    figures: &Figures,
    peers: &[Peer],
    open: &[usize],
    path: &str,
) -> Result<(), Box<dyn Error>> {
    let figure = |peer, open| figures.median(Metric::EightOf(open), peer);
    let all = || peers.iter().flat_map(|&peer| open.iter().filter_map(move |&open| figure(peer, open)));
    let (least, most) = all().fold((f64::MAX, 0.0_f64), |(least, most), at| (least.min(at), most.max(at)));
    let range = open.first().copied().unwrap_or(1) as f64..open.last().copied().unwrap_or(1) as f64;
    let area = SVGBackend::new(path, (900, 480)).into_drawing_area();
    area.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&area)
        .caption("Echo of one byte, 8 connections active, client and server on one core", ("sans-serif", 20))
        .margin(16)
        .x_label_area_size(44)
        .y_label_area_size(60)
        .build_cartesian_2d(range.log_scale(), (least * 0.8..most * 1.2).log_scale())?;
    chart.configure_mesh().x_desc("connections open").y_desc("us per echo").draw()?;
    for (place, &peer) in peers.iter().enumerate() {
        let color = Palette99::pick(place).to_rgba();
        let points: Vec<(f64, f64)> =
            open.iter().filter_map(|&open| Some((open as f64, figure(peer, open)?))).collect();
        let dots = points.iter().map(|&point| Circle::new(point, 4, color.filled()));
        chart.draw_series(dots)?;
        chart
            .draw_series(LineSeries::new(points, color.stroke_width(2)))?
            .label(peer.name())
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 20, y)], color.stroke_width(2)));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .background_style(WHITE.mix(0.8))
        .draw()?;
    area.present()?;
    Ok(())
}
