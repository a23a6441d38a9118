package grafana

// The part of the JSON model of Grafana that the dashboards use (schema version 41: Grafana 12; earlier ones read it too).
type (
	// Dashboard is one dashboard.
	Dashboard struct {
		UID           string      `json:"uid"`
		Title         string      `json:"title"`
		Description   string      `json:"description"`
		Tags          []string    `json:"tags"`
		SchemaVersion int         `json:"schemaVersion"`
		Version       int         `json:"version"`
		Editable      bool        `json:"editable"`
		GraphTooltip  int         `json:"graphTooltip"`
		Timezone      string      `json:"timezone"`
		Refresh       string      `json:"refresh"`
		Time          timeRange   `json:"time"`
		Timepicker    struct{}    `json:"timepicker"`
		Templating    templating  `json:"templating"`
		Annotations   annotations `json:"annotations"`
		Links         []link      `json:"links"`
		Panels        []Panel     `json:"panels"`
	}
	// Panel is one panel, or the heading of a row of them.
	Panel struct {
		ID          int          `json:"id"`
		Type        string       `json:"type"`
		Title       string       `json:"title"`
		Description string       `json:"description,omitempty"`
		GridPos     position     `json:"gridPos"`
		Collapsed   *bool        `json:"collapsed,omitempty"` // of rows
		Panels      []Panel      `json:"panels,omitempty"`    // of collapsed rows
		Datasource  *source      `json:"datasource,omitempty"`
		Targets     []Target     `json:"targets,omitempty"`
		FieldConfig *fieldConfig `json:"fieldConfig,omitempty"`
		Options     any          `json:"options,omitempty"`
		Links       []link       `json:"links,omitempty"`
		Transforms  []transform  `json:"transformations,omitempty"`
	}
	// Target is one query of a panel.
	Target struct {
		RefID        string `json:"refId"`
		Datasource   source `json:"datasource"`
		Expr         string `json:"expr"`
		LegendFormat string `json:"legendFormat,omitempty"`
		Instant      bool   `json:"instant"`
		Range        bool   `json:"range"`
		Format       string `json:"format,omitempty"`
		EditorMode   string `json:"editorMode"`
	}

	timeRange struct {
		From string `json:"from"`
		To   string `json:"to"`
	}
	templating struct {
		List []variable `json:"list"`
	}
	variable struct {
		Name       string         `json:"name"`
		Label      string         `json:"label"`
		Type       string         `json:"type"`
		Query      any            `json:"query"`
		Definition string         `json:"definition,omitempty"`
		Datasource *source        `json:"datasource,omitempty"`
		Refresh    int            `json:"refresh"`
		Regex      string         `json:"regex"`
		Sort       int            `json:"sort"`
		Multi      bool           `json:"multi"`
		IncludeAll bool           `json:"includeAll"`
		AllValue   string         `json:"allValue,omitempty"`
		Current    map[string]any `json:"current"`
		Options    []any          `json:"options"`
		Hide       int            `json:"hide"`
	}
	variableQuery struct {
		QryType int    `json:"qryType"`
		Query   string `json:"query"`
		RefID   string `json:"refId"`
	}
	annotations struct {
		List []annotation `json:"list"`
	}
	annotation struct {
		Name       string  `json:"name"`
		Datasource *source `json:"datasource"`
		Enable     bool    `json:"enable"`
		IconColor  string  `json:"iconColor"`
		Expr       string  `json:"expr"`
		TitleText  string  `json:"titleFormat"`
		Step       string  `json:"step"`
	}
	link struct {
		Title       string   `json:"title"`
		Type        string   `json:"type,omitempty"`
		URL         string   `json:"url,omitempty"`
		Tags        []string `json:"tags,omitempty"`
		AsDropdown  bool     `json:"asDropdown,omitempty"`
		KeepTime    bool     `json:"keepTime,omitempty"`
		IncludeVars bool     `json:"includeVars,omitempty"`
		TargetBlank bool     `json:"targetBlank,omitempty"`
	}
	position struct {
		X int `json:"x"`
		Y int `json:"y"`
		W int `json:"w"`
		H int `json:"h"`
	}
	source struct {
		Type string `json:"type"`
		UID  string `json:"uid"`
	}
	fieldConfig struct {
		Defaults  fieldDefaults `json:"defaults"`
		Overrides []any         `json:"overrides"`
	}
	fieldDefaults struct {
		Unit       string         `json:"unit"`
		Min        *float64       `json:"min,omitempty"`
		Max        *float64       `json:"max,omitempty"`
		Decimals   *int           `json:"decimals,omitempty"`
		NoValue    string         `json:"noValue,omitempty"`
		Color      map[string]any `json:"color,omitempty"`
		Thresholds *thresholds    `json:"thresholds,omitempty"`
		Custom     map[string]any `json:"custom,omitempty"`
		Mappings   []any          `json:"mappings"`
		Links      []link         `json:"links,omitempty"`
	}
	thresholds struct {
		Mode  string      `json:"mode"`
		Steps []threshold `json:"steps"`
	}
	threshold struct {
		Color string   `json:"color"`
		Value *float64 `json:"value"`
	}
	transform struct {
		ID      string         `json:"id"`
		Options map[string]any `json:"options"`
	}
)
