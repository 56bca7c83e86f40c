/* SPDX-License-Identifier: MIT
 *
 * The report as one page without outside resources: sums, a coloured cell for each row, and the
 * rows and differences in words. Readable in light and dark and on a phone.
 */
#include <string.h>

#include "frontend/conform/report.h"

static const char style[] =
    ":root{--bg:#fff;--fg:#1b1f24;--dim:#667;--line:#d8dde3;--card:#f5f7f9;--green:#2da44e;"
    "--amber:#d9a400;--red:#d1242f;--grey:#aab2bb;--none:transparent}"
    "@media(prefers-color-scheme:dark){:root{--bg:#0f1318;--fg:#e4e8ec;--dim:#9aa4ae;"
    "--line:#2c343d;--card:#181e25;--green:#2f9e4f;--amber:#c69a1a;--red:#f0525b;--grey:#57606a}}"
    "*{box-sizing:border-box}body{margin:0 auto;padding:1rem;max-width:75rem;background:var(--bg);"
    "color:var(--fg);font:15px/1.45 system-ui,sans-serif}h1{font-size:1.4rem;margin:.2rem 0}"
    "h2{font-size:1.1rem;margin:1.6rem 0 .5rem}p{margin:.3rem 0}.dim{color:var(--dim)}"
    ".sum{display:flex;flex-wrap:wrap;gap:.6rem;margin:1rem 0}"
    ".sum div{background:var(--card);border:1px solid var(--line);border-radius:.5rem;"
    "padding:.5rem .8rem;min-width:8rem}.sum b{display:block;font-size:1.25rem}"
    ".scroll{overflow-x:auto}table{border-collapse:collapse;width:100%}"
    "th,td{padding:.25rem .6rem;text-align:right;border-bottom:1px solid var(--line);"
    "white-space:nowrap}th:first-child,td:first-child,.l{text-align:left!important}"
    ".grid{display:flex;flex-wrap:wrap;gap:3px;margin:.2rem 0 .8rem}"
    ".grid a{width:15px;height:15px;border-radius:3px;display:block;outline-offset:1px}"
    ".grid a:hover,.grid a:focus{outline:2px solid var(--fg)}"
    ".green{background:var(--green)}.amber{background:var(--amber)}.red{background:var(--red)}"
    ".grey{background:var(--grey)}.none{background:var(--none);border:1px solid var(--dim)}"
    ".key span{display:inline-block;width:.8rem;height:.8rem;border-radius:3px;margin:0 .3rem 0 "
    "1rem;vertical-align:-1px}tr:target{background:var(--card)}"
    "details{border:1px solid var(--line);border-radius:.5rem;margin:.5rem 0;padding:.4rem .8rem}"
    "summary{cursor:pointer}pre{overflow-x:auto;font-size:13px;margin:.5rem 0}"
    "input{width:100%;max-width:24rem;padding:.4rem .6rem;font:inherit;color:inherit;"
    "background:var(--card);border:1px solid var(--line);border-radius:.4rem}";

static void put(FILE *out, const char *text)
{
    for (; text && *text; text++)
        switch (*text) {
        case '<': fputs("&lt;", out); break;
        case '>': fputs("&gt;", out); break;
        case '&': fputs("&amp;", out); break;
        case '"': fputs("&quot;", out); break;
        default: fputc(*text, out);
        }
}

static const char *colour(const struct report_row *row)
{
    if (row->counts.different)
        return "red";
    if (row->reason)
        return "grey";
    if (!row->counts.rows_covered)
        return "none";
    return row->counts.explained ? "amber" : "green";
}

static void put_head(const struct report *r, FILE *out)
{
    fprintf(out,
            "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">"
            "<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">"
            "<title>Lockstep conformance</title><style>%s</style></head><body>\n"
            "<h1>Lockstep against ",
            style);
    put(out, r->host);
    fprintf(out, "</h1>\n<p class=\"dim\">%s, model ",
            r->sequence ? "Instruction sequences" : "Single instructions");
    put(out, r->cpu);
    fputs(", engine", out);
    for (unsigned e = 0; e < CONFORM_ENGINES; e++)
        if (r->engines[e])
            fprintf(out, " %s", conform_engine_name(e));
    fputs(", Lockstep ", out);
    put(out, r->lockstep);
    fprintf(out, ", seed %lx, shard %u of %u, started ", r->seed, r->shard, r->shards);
    put(out, r->started);
    fprintf(out, ", %.1f s with %u workers</p>\n", r->seconds, r->jobs);
}

static void put_card(FILE *out, const char *title, const char *value, const char *unit)
{
    fprintf(out, "<div><span class=\"dim\">%s</span><b>%s</b><span class=\"dim\">%s</span></div>",
            title, value, unit);
}

static void put_cards(const struct report *r, FILE *out)
{
    const struct report_counts c = report_sum(r, NULL);
    char value[64], unit[96];

    fputs("<div class=\"sum\">", out);
    snprintf(value, sizeof(value), "%lu", c.different);
    snprintf(unit, sizeof(unit), "unexplained, %u crashes", r->crash_count);
    put_card(out, "Differences", value, unit);
    if (r->sequence) {
        snprintf(value, sizeof(value), "%lu", c.blocks);
        put_card(out, "Blocks", value, "of generated code");
    } else {
        snprintf(value, sizeof(value), "%lu of %lu", c.rows_covered, c.rows);
        snprintf(unit, sizeof(unit), "covered, %lu exempt", c.rows_exempt);
        put_card(out, "Rows", value, unit);
    }
    snprintf(value, sizeof(value), "%lu of %lu", c.forms_covered, c.forms);
    put_card(out, "Forms", value, "covered");
    snprintf(value, sizeof(value), "%lu", c.cases);
    snprintf(unit, sizeof(unit), "%.0f a second",
             r->seconds > 0 ? (double)c.cases / r->seconds : 0);
    put_card(out, "Cases", value, unit);
    snprintf(value, sizeof(value), "%lu", c.explained);
    put_card(out, "Explained", value, "by named deviations");
    fputs("</div>\n", out);
}

static void put_groups(const struct report *r, FILE *out)
{
    const char *groups[REPORT_GROUPS_MAX];
    const unsigned count = report_groups(r, groups);

    fputs("<h2>Groups</h2><div class=\"scroll\"><table><tr><th>group<th>rows<th>covered<th>exempt"
          "<th>forms<th>cases<th>explained<th>differences</tr>\n",
          out);
    for (unsigned n = 0; n < count; n++) {
        const struct report_counts c = report_sum(r, groups[n]);

        fprintf(out, "<tr><td>%s<td>%lu<td>%lu<td>%lu<td>%lu<td>%lu<td>%lu<td>%lu</tr>\n",
                groups[n], c.rows, c.rows_covered, c.rows_exempt, c.forms, c.cases, c.explained,
                c.different);
    }
    fputs("</table></div>\n", out);
}

static void put_cell(const struct report_row *row, unsigned n, FILE *out)
{
    fprintf(out, "<a class=\"%s\" href=\"#r%u\" title=\"%s: %s", colour(row), n, insn_rows[n].name,
            report_row_state(row));
    if (row->reason) {
        fputs(", ", out);
        put(out, row->reason);
    } else {
        fprintf(out, ", %lu cases, %lu explained, %lu different", row->counts.cases,
                row->counts.explained, row->counts.different);
    }
    fputs("\"></a>", out);
}

static void put_grid(const struct report *r, FILE *out)
{
    const char *groups[REPORT_GROUPS_MAX];
    const unsigned count = report_groups(r, groups);

    fputs("<h2>Rows</h2><p class=\"key dim\"><span class=\"green\"></span>agrees"
          "<span class=\"amber\"></span>explained deviations<span class=\"red\"></span>differs"
          "<span class=\"grey\"></span>exempt<span class=\"none\"></span>not reached</p>\n",
          out);
    for (unsigned g = 0; g < count; g++) {
        fprintf(out, "<div>%s</div><div class=\"grid\">", groups[g]);
        for (unsigned n = 1; n < INSN_COUNT; n++)
            if (r->rows[n].chosen && !strcmp(report_group_of(n), groups[g]))
                put_cell(&r->rows[n], n, out);
        fputs("</div>\n", out);
    }
}

static void put_deviations(const struct report *r, FILE *out)
{
    bool any = false;

    for (unsigned n = DEVIATION_NONE + 1; n < DEVIATION_COUNT; n++) {
        const struct conform_deviation_info *d = &conform_deviations[n];
        const u64 cases = report_deviation_cases(r, n);

        if (!cases)
            continue;
        if (!any)
            fputs("<h2>Explained deviations</h2><div class=\"scroll\"><table><tr><th>name<th "
                  "class=\"l\">vendor<th>cases<th class=\"l\">what<th class=\"l\">source</tr>\n",
                  out);
        any = true;
        fprintf(out, "<tr><td>%s<td class=\"l\">%s<td>%lu<td class=\"l\">", d->name, d->vendor,
                cases);
        put(out, d->what);
        fputs("<td class=\"l\">", out);
        put(out, d->source);
        fputs("</tr>\n", out);
    }
    if (any)
        fputs("</table></div>\n", out);
}

static void put_differences(const struct report *r, FILE *out)
{
    if (r->difference_count || r->crash_count)
        fputs("<h2>Differences</h2>\n", out);
    for (unsigned n = 0; n < r->difference_count; n++) {
        const struct report_difference *d = &r->differences[n];

        fprintf(out, "<details%s><summary><b>%s</b> ", n < 3 ? " open" : "",
                d->row ? insn_rows[d->row].name : "sequence");
        put(out, d->form);
        fprintf(out, " <span class=\"dim\">seed %lx, %s</span></summary><pre>", d->seed,
                conform_engine_name(d->engine));
        put(out, d->text);
        fputs("</pre>", out);
        if (d->vector) {
            fputs("<p class=\"dim\">Vector: ", out);
            put(out, d->vector);
            fputs("</p>", out);
        }
        fputs("</details>\n", out);
    }
    for (unsigned n = 0; n < r->crash_count; n++) {
        const struct report_crash *c = &r->crashes[n];

        fprintf(out, "<details><summary><b>%s</b> ", c->row ? insn_rows[c->row].name : "sequence");
        put(out, c->form);
        fprintf(out, " <span class=\"dim\">seed %lx</span></summary><p>A worker died with ",
                c->seed);
        put(out, c->cause);
        fputs(".</p></details>\n", out);
    }
}

static void put_row(const struct report_row *row, unsigned n, FILE *out)
{
    fprintf(out,
            "<tr id=\"r%u\"><td>%s<td class=\"l\">%s<td class=\"l\">%s<td>%lu<td>%lu<td>%lu<td>%lu"
            "<td class=\"l\">",
            n, insn_rows[n].name, report_group_of(n), report_row_state(row), row->counts.forms,
            row->counts.cases, row->counts.explained, row->counts.different);
    put(out, row->reason);
    for (unsigned f = 0; f < REPORT_FAULTS; f++) {
        if (!row->faults[f])
            continue;
        if (f == REPORT_FAULT_NONE)
            fprintf(out, "none:%lu ", row->faults[f]);
        else
            fprintf(out, "%u:%lu ", f, row->faults[f]);
    }
    fputs("</tr>\n", out);
}

static void put_rows(const struct report *r, FILE *out)
{
    fputs("<h2>All rows</h2><p><input id=\"q\" placeholder=\"Filter: ADC, avx512bw, exempt\" "
          "aria-label=\"Filter rows\"></p><div class=\"scroll\"><table id=\"t\"><tr><th>row<th "
          "class=\"l\">group<th class=\"l\">state<th>forms<th>cases<th>explained<th>differences<th "
          "class=\"l\">reason, or cases by vector (3: regular end)</tr>\n",
          out);
    for (unsigned n = 1; n < INSN_COUNT; n++)
        if (r->rows[n].chosen)
            put_row(&r->rows[n], n, out);
    fputs("</table></div>\n<script>document.getElementById('q').oninput=e=>{const "
          "q=e.target.value.toLowerCase();for(const r of document.getElementById('t').rows)if(r.id)"
          "r.hidden=!r.textContent.toLowerCase().includes(q)}</script>\n",
          out);
}

void report_write_html(const struct report *r, FILE *out)
{
    put_head(r, out);
    put_cards(r, out);
    put_groups(r, out);
    if (!r->sequence)
        put_grid(r, out);
    put_deviations(r, out);
    put_differences(r, out);
    if (!r->sequence)
        put_rows(r, out);
    fputs("</body></html>\n", out);
}
