(function () {
'use strict';
var data = JSON.parse(document.getElementById('page-data').textContent);
var items = JSON.parse(document.getElementById('plot-data').textContent);
var dark = window.matchMedia('(prefers-color-scheme: dark)');
var plots = {};  // name -> the model of the plot
var selected = -1;

function each(list, f) { Array.prototype.forEach.call(list, f); }
function byId(id) { return document.getElementById(id); }

// Colours: canvases do not follow the style sheet.
function paint(isDark) {
  var text = isDark ? '#e8eaed' : '#1b1f24', line = isDark ? '#3b424b' : '#d5d9df', frame = isDark ? '#8a8f98' : '#6b7280';
  Object.keys(plots).forEach(function (name) {
    plots[name].references().forEach(function (model) {
      var change = {};
      ['axis_label_text_color', 'major_label_text_color', 'label_text_color', 'title_text_color'].forEach(function (key) {
        if (key in model.properties) change[key] = text;
      });
      ['axis_line_color', 'major_tick_line_color', 'minor_tick_line_color'].forEach(function (key) {
        if (key in model.properties) change[key] = frame;
      });
      if ('grid_line_color' in model.properties) change.grid_line_color = line;
      if (model.name === 'words of float') { model.glyph.text_color = {value: text}; }
      if (model.name === 'boxes' && model.data_source.name === 'float') {
        model.glyph.fill_color = {value: isDark ? '#14171b' : '#ffffff'};
      }
      if (Object.keys(change).length) model.setv(change);
    });
  });
}

// The picture of the network.
var picture = {};

function source(name) {
  var found = null;
  Object.keys(plots).forEach(function (key) {
    plots[key].references().forEach(function (model) { if (model.name === name && model.data) found = model; });
  });
  return found;
}

function bounds() {
  var box = [Infinity, -Infinity, Infinity, -Infinity];
  picture.sources.forEach(function (one) {
    each(one.data.x, function (x) { box[0] = Math.min(box[0], x); box[1] = Math.max(box[1], x); });
    each(one.data.y, function (y) { box[2] = Math.min(box[2], y); box[3] = Math.max(box[3], y); });
  });
  return [box[0] - 120, box[1] + 120, box[2] - 50, box[3] + 50];
}

function look(x, y, width, height) {  // at a centre, with at least this much around it
  var plot = plots.network, across = plot.inner_width || 1000, down = plot.inner_height || 500;
  var unit = Math.max(width / across, height / down);
  plot.x_range.setv({start: x - unit * across / 2, end: x + unit * across / 2});
  plot.y_range.setv({start: y - unit * down / 2, end: y + unit * down / 2});
}

function whole() {
  var box = bounds();
  // Boxes of a small network do not become larger than their words need.
  look((box[0] + box[1]) / 2, (box[2] + box[3]) / 2, Math.max(box[1] - box[0], 0.6 * plots.network.inner_width), box[3] - box[2]);
}

function start() {
  var box = bounds(), height = Math.min(box[3] - box[2], 700), width = Math.min(box[1] - box[0], 700);
  look(box[0] + width / 2, box[3] - height / 2, width, height);
}

function zoom(factor) {
  var x = plots.network.x_range, y = plots.network.y_range;
  look((x.start + x.end) / 2, (y.start + y.end) / 2, (x.end - x.start) * factor, (y.end - y.start) * factor);
}

function words() {  // grow with the boxes, and go where they could not be read
  var plot = plots.network, scale = (plot.inner_width || 1000) / (plot.x_range.end - plot.x_range.start);
  plot.renderers.forEach(function (renderer) {
    if (!/^words/.test(renderer.name || '')) return;
    var isName = renderer.glyph.text.field === 'name';
    renderer.visible = scale > 0.5;
    renderer.glyph.setv({text_font_size: {value: (isName ? 10.5 : 9.5) * scale + 'px'},
                         y_offset: {value: (isName ? -9 : 9) * scale}});
  });
}

function setUpPicture() {
  var plot = plots.network, element = byId('plot-network'), waiting = false;
  picture.sources = [source('quantized'), source('float')];
  if (window.innerWidth <= 600) plot.height = 420;
  function changed() {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(function () { waiting = false; words(); });
  }
  plot.x_range.change.connect(changed);
  window.addEventListener('resize', function () { setTimeout(function () { zoom(1); }, 300); });  // once the plot has its size
  var wheel = plot.toolbar.tools.filter(function (tool) { return tool.type === 'WheelZoomTool'; })[0];
  element.addEventListener('pointerdown', function () { wheel.active = true; });
  element.addEventListener('pointerleave', function () { wheel.active = false; });
  element.addEventListener('keydown', function (event) {
    var x = plot.x_range, y = plot.y_range, dx = (x.end - x.start) / 6, dy = (y.end - y.start) / 6;
    var moves = {ArrowLeft: [-dx, 0], ArrowRight: [dx, 0], ArrowUp: [0, dy], ArrowDown: [0, -dy]}[event.key];
    if (moves) {
      x.setv({start: x.start + moves[0], end: x.end + moves[0]});
      y.setv({start: y.start + moves[1], end: y.end + moves[1]});
    } else if (event.key === '+' || event.key === '=') zoom(0.6);
    else if (event.key === '-') zoom(1 / 0.6);
    else if (event.key === '0') whole();
    else return;
    event.preventDefault();
  });
  each(document.querySelectorAll('[data-zoom]'), function (button) {
    button.addEventListener('click', function () {
      var way = button.getAttribute('data-zoom');
      if (way === 'start') start(); else if (way === '0') whole(); else zoom(Number(way));
    });
  });
  picture.sources.forEach(function (one) { onTap(one); });
}

function onTap(one) {
  one.selected.change.connect(function () {
    var index = one.selected.indices[0];
    if (index === undefined) return;
    one.selected.indices = [];
    var number = data.names.indexOf(one.data.tensor[index]);
    if (number >= 0) location.hash = 'tensor=' + (number + 1);
  });
}

// The table of tensors.
var table = byId('tensor-table');
var rows = table ? Array.prototype.slice.call(table.tBodies[0].rows) : [];
var shown = rows.filter(function (row) { return !row.hidden; }).length;

function filter() {
  var wanted = byId('filter').value.toLowerCase(), count = 0;
  each(table.tBodies[0].rows, function (row) {
    var fits = !wanted || row.cells[1].textContent.toLowerCase().indexOf(wanted) >= 0
      || row.cells[2].textContent.toLowerCase().indexOf(wanted) >= 0;
    row.hidden = !fits || count >= shown;
    if (!row.hidden) count += 1;
  });
  byId('count').textContent = count + ' of ' + rows.length + ' rows';
}

function sort(button) {
  var column = Number(button.getAttribute('data-column')), head = button.parentNode;
  var way = head.getAttribute('aria-sort') === 'ascending' ? -1 : 1;
  each(table.tHead.rows[0].cells, function (cell) { cell.removeAttribute('aria-sort'); });
  head.setAttribute('aria-sort', way > 0 ? 'ascending' : 'descending');
  var numbers = rows.map(function (_, number) { return number; });
  numbers.sort(function (a, b) {
    var one = data.keys[a][column], other = data.keys[b][column];
    if (one === null) {
      one = rows[a].cells[column].textContent;
      other = rows[b].cells[column].textContent;
    }
    return (one < other ? -1 : one > other ? 1 : a - b) * way;
  });
  var body = document.createDocumentFragment();
  numbers.forEach(function (number) { body.appendChild(rows[number]); });
  table.tBodies[0].appendChild(body);
  filter();
}

function select(number, move) {
  if (!rows[number]) return;
  if (rows[selected]) rows[selected].removeAttribute('aria-current');
  selected = number;
  var row = rows[number];
  row.setAttribute('aria-current', 'true');
  row.hidden = false;
  if (plots.histogram) fill(number, row);
  if (move) {
    var box = table.parentNode;
    box.scrollTop = row.offsetTop - box.clientHeight / 2;
    (byId('selected') || row).scrollIntoView({block: 'start'});
  }
}

function fill(number, row) {
  var histogram = data.histograms[number], plot = plots.histogram, cells = row.cells, empty = !histogram;
  var head = ['', '', 'layer ', '', 'bits ', 'position ', 'from ', 'to ', 'saturated ', 'to zero ', 'error ', 'alone ', 'lost '];
  byId('selected-head').textContent = cells[1].textContent;
  byId('selected-words').textContent = (empty ? 'There is no histogram of this tensor. ' : '') + [2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12].map(
    function (cell) { return head[cell] + cells[cell].textContent; }).join(', ') + '.';
  var columns = {left: [], right: [], float: [], quantized: []};
  if (!empty) {
    var low = histogram[0], high = histogram[1], count = histogram[2].length, step = (high - low) / count;
    if (!(step > 0)) step = 1 / 256;
    var sums = [2, 3].map(function (at) { return histogram[at].reduce(function (a, b) { return a + b; }, 0) || 1; });
    for (var bin = 0; bin < count; bin += 1) {
      columns.left.push(low + bin * step);
      columns.right.push(low + (bin + 1) * step);
      ['float', 'quantized'].forEach(function (name, at) {
        var part = 100 * histogram[2 + at][bin] / sums[at];
        columns[name].push(part > 0 ? part : NaN);
      });
    }
    var pad = step * count * 0.04;
    plot.x_range.setv({start: low - pad, end: low + step * count + pad});
    var least = Math.min.apply(null, columns.float.concat(columns.quantized).filter(function (value) { return value > 0; }));
    plot.y_range.setv({start: Math.max(1e-4, Math.pow(10, Math.floor(Math.log10(least)))), end: 120});
  }
  source('histogram').data = columns;
  plot.references().forEach(function (model) {
    if (model.name === 'least') model.location = empty ? null : histogram[4];
    if (model.name === 'greatest') model.location = empty ? null : histogram[5];
  });
}

function follow() {
  var match = /^#tensor=(\d+)$/.exec(location.hash);
  if (match) select(Number(match[1]) - 1, true);
}

function setUpTable() {
  each(table.querySelectorAll('[data-column]'), function (button) {
    button.addEventListener('click', function () { sort(button); });
  });
  byId('filter').addEventListener('input', filter);
  if (byId('all')) byId('all').addEventListener('click', function () { shown = rows.length; this.hidden = true; filter(); });
  table.tBodies[0].addEventListener('click', function (event) {
    var row = event.target.closest('tr');
    event.preventDefault();
    history.replaceState(null, '', '#tensor=' + (rows.indexOf(row) + 1));
    select(rows.indexOf(row), false);
  });
  window.addEventListener('hashchange', follow);
}

var names = Object.keys(items);
Promise.all(names.map(function (name) { return Bokeh.embed.embed_item(items[name], 'plot-' + name); })).then(function () {
  Bokeh.documents.forEach(function (doc) {
    doc.roots().forEach(function (root) { plots[root.name] = root; });
  });
  if (plots.network) setUpPicture();
  if (plots.depth) onTap(source('depth'));
  paint(dark.matches);
  if (dark.addEventListener) dark.addEventListener('change', function () { paint(dark.matches); });
  window.addEventListener('beforeprint', function () { paint(false); });
  window.addEventListener('afterprint', function () { paint(dark.matches); });
  if (table) {
    setUpTable();
    if (/^#tensor=/.test(location.hash)) follow(); else select(0, false);
  }
  requestAnimationFrame(function () {  // the plots have their sizes then
    requestAnimationFrame(function () {
      if (plots.network) whole();
      document.documentElement.setAttribute('data-drawn', Math.round(performance.now()));
    });
  });
});
})();
