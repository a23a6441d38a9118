package grafana

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
)

const (
	schemaVersion = 41
	runbooks      = "https://github.com/cyphonic/cyphonic/blob/main/docs/runbooks/"
	tag           = "cyphonic"
	columns       = 24
)

// prometheus is the data source that the variable datasource names.
func prometheus() source { return source{Type: "prometheus", UID: "${datasource}"} }

// Query is one query of a panel.
type Query struct{ Panel, Expr string }

// Queries are all queries of the panels.
func (d Dashboard) Queries() []Query {
	var out []Query
	for _, p := range d.Panels {
		for _, inner := range append([]Panel{p}, p.Panels...) {
			for _, t := range inner.Targets {
				out = append(out, Query{inner.Title, t.Expr})
			}
		}
	}
	return out
}

// VariableQueries are the queries that the values of the variables come from: label_values(selector, label).
func (d Dashboard) VariableQueries() map[string]string {
	out := make(map[string]string)
	for _, v := range d.Templating.List {
		if q, ok := v.Query.(variableQuery); ok {
			out[v.Name] = q.Query
		}
	}
	return out
}

// JSON is the file of the dashboard.
func (d Dashboard) JSON() ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(d); err != nil {
		return nil, fmt.Errorf("dashboard %s: %w", d.UID, err)
	}
	return b.Bytes(), nil
}

// builder places panels from left to right and from top to bottom.
type builder struct {
	d          Dashboard
	x, y, high int
}

func newDashboard(name, title, description string, variables ...variable) *builder {
	source := variable{
		Name: "datasource", Label: "Prometheus", Type: "datasource", Query: "prometheus", Refresh: 1, Current: map[string]any{}, Options: []any{},
	}
	return &builder{d: Dashboard{
		UID: tag + "-" + name, Title: "CYPHONIC / " + title, Description: description, Tags: []string{tag}, SchemaVersion: schemaVersion, Version: 1,
		Editable: true, GraphTooltip: 1, Timezone: "browser", Refresh: "30s", Time: timeRange{"now-3h", "now"},
		Templating: templating{List: append([]variable{source}, variables...)},
		Annotations: annotations{List: []annotation{{
			Name: "Alerts", Datasource: new(prometheus()), Enable: true, IconColor: "red", Step: "60s", TitleText: "{{alertname}}",
			Expr: `ALERTS{alertname=~"Cyphonic.*", alertstate="firing", severity=~"critical|warning"}`,
		}}},
		Links: []link{
			{Title: "Dashboards", Type: "dashboards", Tags: []string{tag}, AsDropdown: true, KeepTime: true, IncludeVars: true},
			{Title: "Runbooks", Type: "link", URL: runbooks + "README.md", TargetBlank: true},
		},
	}}
}

// choice is a variable whose values are those of a label.
func choice(name, label, selector, of string, all bool) variable {
	query := fmt.Sprintf("label_values(%s, %s)", selector, of)
	v := variable{
		Name: name, Label: label, Type: "query", Query: variableQuery{QryType: 1, Query: query, RefID: "variable"}, Definition: query,
		Datasource: new(prometheus()), Refresh: 2, Sort: 1, Multi: all, IncludeAll: all, Current: map[string]any{}, Options: []any{},
	}
	if all {
		v.AllValue = ".+"
		v.Current = map[string]any{"text": []string{"All"}, "value": []string{"$__all"}}
	}
	return v
}

// row begins a row of panels.
func (b *builder) row(title string) {
	b.newLine()
	b.d.Panels = append(b.d.Panels, Panel{ID: len(b.d.Panels) + 1, Type: "row", Title: title, GridPos: position{0, b.y, columns, 1}, Collapsed: new(false)})
	b.y++
}

func (b *builder) newLine() {
	b.x, b.y, b.high = 0, b.y+b.high, 0
}

// add places a panel.
func (b *builder) add(p Panel, w, h int, alerts ...string) {
	if b.x+w > columns {
		b.newLine()
	}
	p.ID, p.GridPos = len(b.d.Panels)+1, position{b.x, b.y, w, h}
	for _, alert := range alerts {
		p.Links = append(p.Links, link{Title: "Runbook: " + alert, URL: runbooks + alert + ".md", TargetBlank: true})
	}
	b.x, b.high = b.x+w, max(b.high, h)
	b.d.Panels = append(b.d.Panels, p)
}

// query is one line or set of lines of a panel.
type query struct{ expr, legend string }

func panel(kind, title, description, unit string, instant bool, queries ...query) Panel {
	p := Panel{Type: kind, Title: title, Description: description, Datasource: new(prometheus())}
	for i, q := range queries {
		p.Targets = append(p.Targets, Target{
			RefID: string(rune('A' + i)), Datasource: prometheus(), Expr: q.expr, LegendFormat: q.legend, Instant: instant, Range: !instant, EditorMode: "code",
		})
	}
	p.FieldConfig = &fieldConfig{Defaults: fieldDefaults{Unit: unit, Mappings: []any{}}, Overrides: []any{}}
	return p
}

// graph shows values over time.
func graph(title, description, unit string, queries ...query) Panel {
	p := panel("timeseries", title, description, unit, false, queries...)
	p.FieldConfig.Defaults.Min = new(0.0)
	p.FieldConfig.Defaults.Color = map[string]any{"mode": "palette-classic"}
	p.FieldConfig.Defaults.Custom = map[string]any{
		"drawStyle": "line", "lineWidth": 1, "fillOpacity": 10, "showPoints": "never", "spanNulls": false, "stacking": map[string]any{"mode": "none", "group": "A"},
	}
	p.Options = map[string]any{
		"legend":  map[string]any{"displayMode": "list", "placement": "bottom", "showLegend": true, "calcs": []string{}},
		"tooltip": map[string]any{"mode": "multi", "sort": "desc"},
	}
	return p
}

// stacked makes a graph one of parts of a whole.
func stacked(p Panel) Panel {
	p.FieldConfig.Defaults.Custom["stacking"] = map[string]any{"mode": "normal", "group": "A"}
	p.FieldConfig.Defaults.Custom["fillOpacity"] = 40
	return p
}

// figure shows one present value; green below warn, red from bad on (the other way round if bad is the lower one).
func figure(title, description, unit string, warn, bad float64, q query) Panel {
	p := panel("stat", title, description, unit, true, q)
	steps := []threshold{{"green", nil}, {"orange", &warn}, {"red", &bad}}
	if bad < warn {
		steps = []threshold{{"red", nil}, {"orange", &bad}, {"green", &warn}}
	}
	p.FieldConfig.Defaults.Thresholds = &thresholds{Mode: "absolute", Steps: steps}
	p.FieldConfig.Defaults.Color = map[string]any{"mode": "thresholds"}
	p.Options = map[string]any{
		"colorMode": "value", "graphMode": "none", "justifyMode": "auto", "textMode": "auto", "orientation": "auto",
		"reduceOptions": map[string]any{"calcs": []string{"lastNotNull"}, "fields": "", "values": false},
	}
	return p
}

// neutral is a figure that is neither good nor bad.
func neutral(title, description, unit string, q query) Panel {
	p := figure(title, description, unit, 0, 0, q)
	p.FieldConfig.Defaults.Thresholds = &thresholds{Mode: "absolute", Steps: []threshold{{"blue", nil}}}
	return p
}

// table shows present values by labels; the columns are renamed, others are left out.
func table(title, description, unit string, rename map[string]string, q query) Panel {
	p := panel("table", title, description, unit, true, q)
	p.Targets[0].Format = "table"
	exclude := map[string]bool{"Time": true, "job": true, "instance": true, "__name__": true}
	p.Transforms = []transform{{ID: "organize", Options: map[string]any{"excludeByName": exclude, "renameByName": rename, "indexByName": map[string]int{}}}}
	p.Options = map[string]any{"showHeader": true, "cellHeight": "sm", "footer": map[string]any{"show": false}}
	return p
}

// linked lets a click on a value of a label lead to another dashboard.
func linked(p Panel, title, dashboard string, variables ...string) Panel {
	url := "/d/" + tag + "-" + dashboard + "?${__url_time_range}&${datasource:queryparam}"
	for _, v := range variables {
		url += "&var-" + v + "=${__data.fields." + v + "}"
	}
	p.FieldConfig.Defaults.Links = append(p.FieldConfig.Defaults.Links, link{Title: title, URL: url})
	return p
}

// quantile is a quantile of a histogram.
func quantile(q, metric, selector, by string) string {
	labels := strings.Trim("le, "+by, ", ")
	return fmt.Sprintf("histogram_quantile(%s, sum by (%s) (rate(%s_bucket%s[$__rate_interval])))", q, labels, metric, selector)
}
