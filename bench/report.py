# SPDX-License-Identifier: ISC
"""The output of bench/run: a table, JSON and a picture."""
import json, math, os, pathlib, re, statistics, subprocess, sys, time

COLUMNS = {'work': 'work', 'service': 'service', 'accounts': 'accounts', 'clients': 'clients', 'processors': 'processors',
           'turns': 'turns', 'what': 'figure', 'ours': 'ours', 'floor': 'floor', 'dovecot': 'Dovecot', 'to_floor': 'x floor',
           'to_dovecot': 'x Dovecot', 'spread': 'spread', 'goal': 'goal', 'met': 'met'}


def number(value):
    return f'{value:,.0f}' if value >= 100 else f'{value:.3g}'


def cell(value):
    if value is None:
        return ''
    if isinstance(value, bool):
        return 'yes' if value else 'no'
    if isinstance(value, list):
        return ' to '.join(number(end) for end in value)
    if isinstance(value, int):
        return f'{value:,}'
    return number(value) if isinstance(value, float) else value


def table(results):
    lines = [list(COLUMNS.values()), ['---'] * len(COLUMNS)]
    lines += [[cell(row[key]) for key in COLUMNS] for row in results]
    return '\n'.join('| ' + ' | '.join(line) + ' |' for line in lines)


STYLE = '''text { font: 12px "Segoe UI", Helvetica, Arial, sans-serif; fill: #656d76 }
path { stroke: #656d76; fill: none }
.grid { opacity: .35 }
.less { fill: #238636 }
.more { fill: #bd561d }
rect { fill-opacity: .5; stroke: none }
.floor { stroke-width: 2.5 }
path.less { stroke: #238636 }
path.more { stroke: #bd561d }
@media (prefers-color-scheme: dark) {
	text { fill: #848d97 }
	path { stroke: #848d97 }
	path.less { stroke: #2ea043 }
	path.more { stroke: #db6d28 }
}'''  # colours that can be read on white and on black, whatever a browser prefers
LEGEND = '''<text x="408" y="15" text-anchor="end">CPU time or memory, Dovecot is 1:</text>
<rect class="less" x="416" y="5" width="24" height="13"/><text x="446" y="15">less</text>
<rect class="more" x="484" y="5" width="24" height="13"/><text x="514" y="15">more</text>
<path d="M560,8v7m0,-3.5h24m0,-3.5v7"/><text x="590" y="15">spread of turns</text>
<path class="floor" d="M694,4v15"/><text x="702" y="15">the floor</text>'''
LEFT, WIDTH, TOP, STEP = 416, 320, 52, 19  # of the bars
SCALE = 0.005, 50


def along(ratio):
    low, high = SCALE
    return LEFT + WIDTH * math.log(min(max(ratio, low), high) / low) / math.log(high / low)


def pictured(results):
    """The rows whose figure is a cost and has one of Dovecot beside it. Of rows that differ only in processors and clients,
    the pinned one with 8 clients."""
    chosen = {}
    for row in results:
        if row['to_dovecot'] and row['what'] in ('ms CPU', 's CPU/GB', 'KiB'):
            key = row['work'], row['service'], row['accounts']
            rank = row['processors'] == 'pinned', row['clients'] == 8
            if key not in chosen or rank > chosen[key][0]:
                chosen[key] = rank, row
    return [row for _, row in chosen.values()]


def bar(y, ratio, spread, floor):
    kind, one, end = 'less' if ratio <= 1 else 'more', along(1), along(ratio)
    yield f'<rect class="{kind}" x="{min(one, end):.1f}" y="{y}" width="{abs(one - end):.1f}" height="13"/>'
    low, high = map(along, spread)
    yield f'<path class="{kind}" d="M{low:.1f},{y + 3}v7m0,-3.5H{high:.1f}m0,-3.5v7"/>'
    if floor and floor > SCALE[0]:
        yield f'<path class="floor" d="M{along(floor):.1f},{y - 1}v15"/>'


def picture(results, path):
    """For each row a bar: how much of Dovecot's figure ours is; and a mark: how much the floor is."""
    rows = pictured(results)
    usual = statistics.mode([row['accounts'] for row in rows] or [0])
    bottom = TOP + STEP * len(rows)
    lines = ['<svg xmlns="http://www.w3.org/2000/svg" role="img" width="800" height="%d">' % (bottom + 4),
             '<title>CPU time and memory of pop3-handler in proportion to Dovecot</title>', f'<style>{STYLE}</style>', LEGEND]
    for ratio in 0.01, 0.1, 1, 10:
        lines += [f'<path class="{"" if ratio == 1 else "grid"}" d="M{along(ratio):.1f},{TOP - 6}V{bottom}"/>',
                  f'<text x="{along(ratio):.1f}" y="{TOP - 10}" text-anchor="middle">{ratio:g}</text>']
    for y, row in zip(range(TOP, bottom, STEP), rows):
        accounts = f'; {row["accounts"]:,} account' + 's' * (row['accounts'] > 1) if row['accounts'] != usual else ''
        lines += bar(y, row['to_dovecot'], row['spread'], row['floor'] and row['floor'] / row['dovecot'])
        lines += [f'<text x="{LEFT - 8}" y="{y + 11}" text-anchor="end">{row["work"]}; {row["service"]}{accounts}</text>',
                  f'<text x="796" y="{y + 11}" text-anchor="end">{number(row["to_dovecot"])}</text>']
    path.write_text('\n'.join(lines) + '\n</svg>\n')


def machine():
    model = re.search(r'model name\s*: (.*)', open('/proc/cpuinfo').read())
    version = subprocess.run(['dovecot', '--version'], capture_output=True, text=True, check=True).stdout.split()[0]
    return {'processor': model.group(1) if model else os.uname().machine, 'processors': os.cpu_count(),
            'kernel': os.uname().release, 'dovecot': version, 'date': time.strftime('%Y-%m-%d')}


def write(results, output, **more):
    output.mkdir(exist_ok=True)
    (output / 'results.json').write_text(json.dumps({'machine': machine(), **more, 'results': results}, indent=1) + '\n')
    picture(results, output / 'results.svg')
    print(table(results))


if __name__ == '__main__':  # report.py RESULTS.json PICTURE.svg: only draws the picture
    picture(json.loads(pathlib.Path(sys.argv[1]).read_text())['results'], pathlib.Path(sys.argv[2]))
