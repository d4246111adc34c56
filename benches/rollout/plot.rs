//! The share of users who are done over time, as an SVG: one panel for each size.

use std::fmt::Write as _;

use crate::table::{thousands, time};
use crate::{Measured, bound};

const WIDTH: f64 = 720.0;
const PANEL: f64 = 250.0;
const LEFT: f64 = 56.0;
const RIGHT: f64 = 24.0;
const TOP: f64 = 46.0;
const BOTTOM: f64 = 44.0;
const GREY: &str = "#57606a";
/// How much time is shown, as a multiple of the time that AWS's limits allow.
const SHOWN: f64 = 2.0;

/// The content of one panel: shares of users who are done, over seconds.
struct Panel<'a> {
    users: usize,
    how: &'static str,
    at_once: &'a [(f64, f64)],
    in_waves: &'a [(f64, f64)],
}

pub(crate) fn plot(measured: &Measured) -> String {
    // For few users, a minute to start and the soaks take longer than the limits.
    let real = measured.sizes.iter().max_by_key(|sized| sized.users);
    let real = real.map(|sized| Panel {
        users: sized.users,
        how: "every call simulated",
        at_once: &sized.at_once.progress,
        in_waves: &sized.in_waves.progress,
    });
    let model = measured.models.iter().max_by_key(|model| model.users);
    let model = model.map(|model| Panel {
        users: model.users,
        how: "the plan alone",
        at_once: &model.at_once.progress,
        in_waves: &model.in_waves.progress,
    });
    let panels: Vec<Panel<'_>> = real.into_iter().chain(model).collect();
    let height = PANEL * panels.len() as f64 + 34.0;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" font-family=\"system-ui, sans-serif\" font-size=\"13\">\n\
         <title>Users of a rollout who are done, over simulated time</title>\n\
         <rect width=\"{WIDTH}\" height=\"{height}\" fill=\"#ffffff\"/>\n"
    );
    legend(&mut svg);
    for (number, shown) in panels.iter().enumerate() {
        panel(&mut svg, shown, measured.script.seconds_a_user, 34.0 + PANEL * number as f64);
    }
    svg.push_str("</svg>\n");
    svg
}

const LINES: [(&str, &str, &str); 4] = [
    (GREY, "5 4", "what AWS's limits allow"),
    ("#0b5cad", "", "everybody at once"),
    ("#7a3e9d", "", "canary and waves"),
    ("#b42318", "", "the script"),
];

fn legend(svg: &mut String) {
    let mut x = LEFT;
    for (colour, dashes, name) in LINES {
        let _ = writeln!(
            svg,
            "<path d=\"M{x},22 h26\" stroke=\"{colour}\" stroke-width=\"2.5\" stroke-dasharray=\"{dashes}\"/>\n\
             <text x=\"{:.0}\" y=\"26\" fill=\"{GREY}\">{name}</text>",
            x + 32.0
        );
        x += 44.0 + name.len() as f64 * 7.0;
    }
}

fn panel(svg: &mut String, shown: &Panel<'_>, script_a_user: f64, top: f64) {
    let Panel { users, how, at_once, in_waves } = shown;
    let limits = bound(*users);
    let (width, height) = (WIDTH - LEFT - RIGHT, PANEL - TOP - BOTTOM);
    let at = |seconds: f64, share: f64| {
        format!("{:.1},{:.1}", LEFT + seconds / limits / SHOWN * width, top + TOP + (1.0 - share) * height)
    };
    let _ = writeln!(
        svg,
        "<text x=\"{LEFT}\" y=\"{:.0}\" font-weight=\"600\" fill=\"#1f2328\">{} users</text>\n\
         <text x=\"{:.0}\" y=\"{:.0}\" text-anchor=\"end\" fill=\"{GREY}\">{how}</text>",
        top + TOP - 14.0,
        thousands(*users),
        WIDTH - RIGHT,
        top + TOP - 14.0
    );
    for share in [0.0, 0.5, 1.0] {
        let y = top + TOP + (1.0 - share) * height;
        let _ = writeln!(
            svg,
            "<path d=\"M{LEFT},{y:.1} H{:.1}\" stroke=\"#d8dee4\"/>\n\
             <text x=\"{:.0}\" y=\"{:.1}\" text-anchor=\"end\" fill=\"{GREY}\">{:.0} %</text>",
            WIDTH - RIGHT,
            LEFT - 8.0,
            y + 4.0,
            share * 100.0
        );
    }
    for mark in [0.0, 0.5, 1.0, 1.5, SHOWN] {
        let x = LEFT + mark / SHOWN * width;
        let label = if mark == 0.0 { "0".to_owned() } else { time(mark * limits) };
        let y = top + PANEL - BOTTOM;
        let _ = writeln!(
            svg,
            "<path d=\"M{x:.1},{y:.1} v5\" stroke=\"{GREY}\"/>\n\
             <text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\" fill=\"{GREY}\">{label}</text>",
            y + 20.0
        );
    }
    let allowed: Vec<(f64, f64)> = vec![(0.0, (20.0 / *users as f64).min(1.0)), (limits, 1.0)];
    let script_shown = SHOWN * limits / (script_a_user * *users as f64);
    let script = vec![(0.0, 0.0), (SHOWN * limits, script_shown.min(1.0))];
    let lines = [&allowed[..], at_once, in_waves, &script];
    for ((colour, dashes, _), line) in LINES.into_iter().zip(lines) {
        let step = line.len().div_ceil(300).max(1);
        let kept = line.iter().step_by(step).chain(line.last());
        let points: Vec<String> = kept
            .filter(|(seconds, _)| *seconds <= SHOWN * limits)
            .map(|(seconds, share)| at(*seconds, *share))
            .collect();
        let _ = writeln!(
            svg,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2.5\" stroke-dasharray=\"{dashes}\"/>",
            points.join(" ")
        );
    }
}
