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

  // Phases as bands behind the lines, every second one shaded, names at the top.
  function phases(plot) {
    var ctx = plot.ctx, ratio = devicePixelRatio, box = plot.bbox, free = -Infinity;
    ctx.save();
    ctx.beginPath();
    ctx.rect(box.left, box.top, box.width, box.height);
    ctx.clip();
    ctx.font = 11 * ratio + "px system-ui, sans-serif";
    ctx.textBaseline = "top";
    data.phases.forEach(function (phase, index) {
      var left = plot.valToPos(phase.from_s, "x", true), right = plot.valToPos(phase.to_s, "x", true);
      if (index % 2) {
        ctx.fillStyle = color("band");
        ctx.fillRect(left, box.top, right - left, box.height);
      }
      var at = Math.max(left, box.left) + 5 * ratio, width = ctx.measureText(phase.name).width;
      if (at > free && at + width < Math.min(right, box.left + box.width)) {
        ctx.fillStyle = color("soft");
        ctx.fillText(phase.name, at, box.top + 4 * ratio);
        free = at + width;
      }
    });
    ctx.restore();
  }

  function axis(more) {
    return Object.assign({
      stroke: color("soft"), font: "12px system-ui, sans-serif",
      grid: { stroke: color("rule"), width: 1 }, ticks: { stroke: color("line"), width: 1, size: 5 }
    }, more);
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
      width: box.clientWidth, height: 240, series: series, padding: [12, 14, 0, 0],
      legend: { markers: { width: 2 } },
      cursor: { sync: { key: "time" }, points: { size: 6 } },
      scales: { x: { time: false }, y: { range: from_zero } },
      axes: [axis({ values: function (_, ticks) { return ticks.map(clock); } }),
             axis({ size: 64, values: function (_, ticks) { return ticks.map(number); } })],
      hooks: { drawClear: [phases] }
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
  // 1, 2, 5, 10, ... with a number each: powers of ten alone say little on a scale that spans two of them.
  function log_splits(_, __, low, high) {
    var found = [];
    for (var power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)); power++)
      [1, 2, 5].forEach(function (step) { found.push(Number((step * Math.pow(10, power)).toPrecision(2))); });
    return found.filter(function (value) { return value >= low && value <= high; });
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
      options.axes = [axis({ values: function (_, ticks) { return ticks.map(clock); } }),
                      axis({ size: 64, splits: log_splits, values: function (_, ticks) { return ticks.map(number); } })];
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
    var splits = [0, Math.log10(2)];
    for (var nines = 1; nines <= last; nines++) splits.push(nines);
    draw("curve", [data.curve.nines, data.curve.ms],
      [{ label: "share", value: function (_, nines) {
        return nines == null ? "-" : (100 * (1 - Math.pow(10, -nines))).toFixed(Math.max(1, Math.ceil(nines) - 1)) + "%";
      } }, line("at most", "one", " ms", { width: 2, points: { show: false }, fill: faded(color("one"), .08) })],
      { cursor: { points: { size: 6 } }, hooks: {},
        axes: [axis({ splits: function () { return splits; }, values: names, space: 30 }),
               axis({ size: 64, values: function (_, ticks) { return ticks.map(number); } })] });
  }
  function traffic() {
    var s = data.series, bars = uPlot.paths.bars({ size: [.7, 40], align: 1 });
    var columns = [s.at_s, s.delivered, s.messages];
    var series = [time(), line("delivered", "one", "/s", { width: 2, fill: faded(color("one"), .08) }),
                  line("published", "two", "/s", { scale: "messages" })];
    if (data.lost) {
      columns.push(s.lost);
      series.push(line("lost", "three", "/s", { paths: bars, points: { show: false }, fill: faded(color("three"), .5) }));
    }
    draw("traffic", columns, series, {
      scales: { x: { time: false }, y: { range: from_zero }, messages: { range: from_zero } },
      axes: [axis({ values: function (_, ticks) { return ticks.map(clock); } }),
             axis({ size: 64, values: function (_, ticks) { return ticks.map(number); } }),
             axis({ side: 1, size: 52, scale: "messages", stroke: color("two"), grid: { show: false },
                    values: function (_, ticks) { return ticks.map(number); } })]
    });
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
    plots.forEach(function (pair) { pair[0].setSize({ width: pair[1].clientWidth, height: 240 }); });
  });
})();
