# SPDX-License-Identifier: ISC
"""What bench/run writes: a table, JSON and a picture."""
import json, os, re, subprocess, time

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


def picture(results, path):
    """For each row that has a peer a bar: how much of Dovecot's figure ours is; and a mark: how much the floor is."""
    bars = [row for row in results if row['to_dovecot']]
    labels = (f'{row["work"]}; {row["service"]}; {row["accounts"]:,} accounts, {row["clients"]:,} clients, '
              f'{row["processors"]}; {row["what"]}' for row in bars)
    data = '\n'.join(f'{len(bars) - i} {row["to_dovecot"]} {row["spread"][0]} {row["spread"][1]} '
                     f'{row["floor"] / row["dovecot"] if row["floor"] else "NaN"} "{label}"'
                     for i, (row, label) in enumerate(zip(bars, labels)))
    script = f'''
        set terminal svg size 1200,{80 + 20 * len(bars)} font "sans-serif,11" background "white" noenhanced
        set output "{path}"
        $bars << END\n{data}\nEND
        set title "ours (bars) and the floor (marks); Dovecot is 1"
        set logscale x
        set xrange [0.005:100]
        set yrange [0.4:{len(bars)}.6]
        set grid x
        set arrow from 1, graph 0 to 1, graph 1 nohead lw 2 lc rgb "#808080"
        set lmargin 90
        unset key
        set style fill solid
        plot $bars using 2:1:(0.005):2:($1-0.35):($1+0.35):ytic(6) with boxxyerror lc rgb "#4477aa", \\
             $bars using 2:1:3:4 with xerrorbars pt 0 lw 1.5 lc rgb "#222222", \\
             $bars using 5:1 with points pt 13 ps 0.8 lc rgb "#ee6677"
        '''
    subprocess.run(['gnuplot'], input=script, text=True, check=True)


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
