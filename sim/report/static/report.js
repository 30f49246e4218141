// Draws the charts of a report from the JSON in #series; every number is in the page's tables too.
(function () {
  "use strict";
  var data = JSON.parse(document.getElementById("series").textContent);
  var plots = [];
  var logarithmic = data.log;

  function color(name) {
    return getComputedStyle(document.documentElement).getPropertyValue("--" + name).trim();
  }
  function faded(hex, share) {
    return hex + Math.round(share * 255).toString(16).padStart(2, "0");
  }
  function number(value) {
    if (value == null) return "-";
    if (value >= 100 || value === Math.round(value)) return Math.round(value).toLocaleString("en");
    return value >= 10 ? value.toFixed(1) : value.toFixed(2);
  }
  function with_unit(unit) {
    return function (_, value) { return value == null ? "-" : number(value) + unit; };
  }
  function clock(seconds) {
    if (seconds < 120 && data.seconds < 300) return number(seconds) + " s";
    var whole = Math.round(seconds), minutes = Math.floor(whole / 60), text = String(whole % 60).padStart(2, "0");
    if (minutes < 60) return minutes + ":" + text;
    return Math.floor(minutes / 60) + ":" + String(minutes % 60).padStart(2, "0") + ":" + text;
  }

  // Phases behind the lines, every second one shaded.
  function bands(plot) {
    var ctx = plot.ctx, box = plot.bbox;
    ctx.save();
    ctx.beginPath();
    ctx.rect(box.left, box.top, box.width, box.height);
    ctx.clip();
    ctx.fillStyle = color("band");
    data.phases.forEach(function (phase, index) {
      var left = plot.valToPos(phase.from_s, "x", true);
      if (index % 2) ctx.fillRect(left, box.top, plot.valToPos(phase.to_s, "x", true) - left, box.height);
    });
    ctx.restore();
  }

  // Above the lines, where nothing else is drawn: names of the phases, where they have room, and below them the numbers
  // of what was done to the cluster, whose names stand in the list below the first chart.
  var LANE = 15, lanes = LANE * ((data.phases.length ? 1 : 0) + (data.events.length ? 1 : 0));
  function names(plot) {
    var ctx = plot.ctx, ratio = devicePixelRatio, box = plot.bbox, right = box.left + box.width;
    ctx.save();
    ctx.font = 11 * ratio + "px system-ui, sans-serif";
    ctx.textBaseline = "bottom";
    ctx.textAlign = "left";
    ctx.fillStyle = color("soft");
    data.phases.forEach(function (phase) {
      var left = Math.max(plot.valToPos(phase.from_s, "x", true), box.left) + 3 * ratio;
      var end = Math.min(plot.valToPos(phase.to_s, "x", true), right);
      if (left + ctx.measureText(phase.name).width < end)
        ctx.fillText(phase.name, left, box.top - (lanes - LANE + 2) * ratio);
    });
    ctx.strokeStyle = ctx.fillStyle = color("seven");
    ctx.lineWidth = ratio;
    ctx.setLineDash([4 * ratio, 3 * ratio]);
    ctx.textAlign = "center";
    var tags = [];
    data.events.forEach(function (event, index) {
      var at = Math.floor(plot.valToPos(event.at_s, "x", true)) + .5;  // through the middle of a pixel: not blurred
      if (at < box.left || at > right + 1) return;
      ctx.beginPath();
      ctx.moveTo(at, box.top);
      ctx.lineTo(at, box.top + box.height);
      ctx.stroke();
      add_tag(tags, { first: index + 1, last: index + 1, from: at, to: at }, ctx, 6 * ratio);
    });
    tags.forEach(function (tag) { ctx.fillText(tag.text, tag.middle, box.top - 2 * ratio); });
    ctx.restore();
  }
  // Tags that would touch become one: "3-7".
  function add_tag(tags, tag, ctx, gap) {
    for (;;) {
      tag.text = tag.first === tag.last ? String(tag.first) : tag.first + "-" + tag.last;
      tag.middle = (tag.from + tag.to) / 2;
      tag.half = (ctx.measureText(tag.text).width + gap) / 2;
      var before = tags[tags.length - 1];
      if (!before || before.middle + before.half <= tag.middle - tag.half) break;
      tag.first = before.first;
      tag.from = before.from;
      tags.pop();
    }
    tags.push(tag);
  }

  function axis(more) {
    return Object.assign({
      stroke: color("soft"), font: "12px system-ui, sans-serif",
      grid: { stroke: color("rule"), width: 1 }, ticks: { stroke: color("line"), width: 1, size: 5 }
    }, more);
  }
  function time_axis() {
    return axis({ incrs: [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 28800, 86400],
                  values: function (_, ticks) { return ticks.map(clock); } });
  }
  function value_axis(more) {
    return axis(Object.assign({ size: 64, values: function (_, ticks) { return ticks.map(number); } }, more));
  }
  function line(label, name, unit, more) {
    var tone = color(name);
    return Object.assign({ label: label, stroke: tone, width: 1.5, value: with_unit(unit), points: { size: 5, fill: tone } }, more);
  }
  function draw(id, columns, series, options) {
    var box = document.getElementById(id);
    if (!box) return;
    box.textContent = "";
    var settings = Object.assign({
      width: box.clientWidth, height: 240 + (options.hooks ? 0 : lanes), series: series, padding: [12 + (options.hooks ? 0 : lanes), 14, 0, 0],
      legend: { markers: { width: 2 } },
      cursor: { sync: { key: "time" }, points: { size: 6 } },
      scales: { x: { time: false }, y: { range: from_zero } },
      axes: [time_axis(), value_axis()],
      hooks: { drawClear: [bands], draw: [names] }
    }, options);
    var plot = new uPlot(settings, columns, box);
    plots.push([plot, box]);
  }
  function from_zero(_, low, high) {
    return [0, high > 0 ? high * 1.12 : 1];
  }
  function time() {
    return { label: "second", value: function (_, value) { return value == null ? "-" : clock(value); } };
  }
  // 1, 2, 5, 10, ... each with its number: powers of ten alone say little on a scale that spans two of them.
  function log_splits(_, __, low, high) {
    var found = [], steps = high / low < 1000 ? [1, 2, 5] : [1];
    for (var power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)); power++)
      steps.forEach(function (step) { found.push(Number((step * Math.pow(10, power)).toPrecision(2))); });
    return found.filter(function (value) { return value >= low && value <= high; });
  }
  function log_axis() {
    return value_axis({ splits: log_splits, filter: function (_, splits) { return splits; } });
  }
  function log_range(_, low, high) {
    if (!(low > 0)) low = 0.1;
    return [low / 1.2, Math.max(high, low) * 1.5];
  }

  function latency() {
    var s = data.series, p50 = color("one"), options = {
      bands: [{ series: [2, 1], fill: faded(p50, .25) }, { series: [3, 2], fill: faded(color("two"), .18) },
              { series: [4, 3], fill: faded(color("three"), .1) }]
    };
    if (logarithmic) {
      options.scales = { x: { time: false }, y: { distr: 3, range: log_range } };
      options.axes = [time_axis(), log_axis()];
    }
    draw("latency", [s.at_s, s.p50_ms, s.p90_ms, s.p99_ms, s.max_ms], [time(), line("p50", "one", " ms", { width: 2 }),
      line("p90", "five", " ms"), line("p99", "two", " ms"), line("max", "three", " ms", { dash: [4, 3], width: 1 })], options);
  }
  function curve() {
    // Each step to the right is ten times rarer: 90 %, 99 %, 99.9 %.
    var names = function (_, ticks) {
      return ticks.map(function (nines) {
        return nines < 1 ? number(100 * (1 - Math.pow(10, -nines))) + "%"
          : (100 * (1 - Math.pow(10, -nines))).toFixed(Math.max(0, Math.ceil(nines) - 2)) + "%";
      });
    };
    var last = data.curve.nines[data.curve.nines.length - 1];
    var splits = [Math.log10(2)];
    for (var nines = 1; nines <= last; nines++) splits.push(nines);
    draw("curve", [data.curve.nines, data.curve.ms],
      [{ label: "share", value: function (_, nines) {
        return nines == null ? "-" : (100 * (1 - Math.pow(10, -nines))).toFixed(Math.max(1, Math.ceil(nines) - 1)) + "%";
      } }, line("at most", "one", " ms", { width: 2, points: { show: false }, fill: faded(color("one"), .08) })],
      { cursor: { points: { size: 6 } }, hooks: {},
        scales: { x: { time: false }, y: logarithmic ? { distr: 3, range: log_range } : { range: from_zero } },
        axes: [axis({ splits: function () { return splits; }, values: names, space: 30 }),
               logarithmic ? log_axis() : value_axis()] });
  }
  function traffic() {
    var s = data.series;
    draw("traffic", [s.at_s, s.delivered, s.messages], [time(), line("delivered", "one", "/s", { width: 2, fill: faded(color("one"), .08) }),
                  line("published", "two", "/s", { scale: "messages", dash: [6, 4] })], {
      scales: { x: { time: false }, y: { range: from_zero }, messages: { range: from_zero } },
      axes: [time_axis(), value_axis(),
             value_axis({ side: 1, size: 52, scale: "messages", stroke: color("two"), grid: { show: false } })]
    });
  }
  function lost() {
    var counts = data.series.lost.map(function (count) { return count || null; });  // no bar at all for none
    draw("lost", [data.series.at_s, counts], [time(), line("lost", "three", "", {
      paths: uPlot.paths.bars({ size: [.8, 40], align: 1 }), points: { show: false }, fill: faded(color("three"), .5)
    })], { height: 160 + lanes });
  }
  function nodes(id, key, unit) {
    var tones = ["one", "two", "four", "five", "six", "seven", "three"];
    var columns = [data.nodes.at_s], series = [time()];
    data.nodes.names.forEach(function (name, index) {
      columns.push(data.nodes[key][index]);
      series.push(line(name, tones[index % tones.length], unit, { spanGaps: false, dash: index < 7 ? [] : [6, 3] }));
    });
    draw(id, columns, series, {});
  }
  function all() {
    plots.forEach(function (pair) { pair[0].destroy(); });
    plots = [];
    if (data.series.at_s.length) {
      latency();
      traffic();
      lost();
      draw("connected", [data.series.at_s, data.series.connected],
        [time(), line("connected", "four", "", { width: 2, fill: faded(color("four"), .08) })], {});
    }
    if (data.curve.ms.length) curve();
    if (data.nodes.names.length) {
      nodes("cpu", "cpu_percent", "%");
      nodes("memory", "rss_mb", " MB");
    }
  }

  document.querySelectorAll("[data-chart]").forEach(function (section) { section.hidden = false; });
  var button = document.getElementById("log");
  if (button) {
    button.setAttribute("aria-pressed", String(logarithmic));
    button.addEventListener("click", function () {
      logarithmic = !logarithmic;
      button.setAttribute("aria-pressed", String(logarithmic));
      all();
    });
  }
  all();
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", all);
  addEventListener("resize", function () {
    plots.forEach(function (pair) { pair[0].setSize({ width: pair[1].clientWidth, height: pair[0].height }); });
  });
})();
