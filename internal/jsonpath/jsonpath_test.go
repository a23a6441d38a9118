package jsonpath

import (
	"encoding/json"
	"io"
	"strings"
	"testing"
)

const document = `{
  "kind": "List", "empty": [], "none": null, "yes": true,
  "items": [
    {"kind": "Node", "metadata": {"name": "a", "labels": {"site": "hall-1", "example.org/role": "viewer"}}, "size": 9,
     "status": {"phase": "Up", "conditions": [{"type": "Ready", "status": "True"}, {"type": "Synced", "status": "False"}]}},
    {"kind": "Node", "metadata": {"name": "b", "labels": {"site": "hall-2"}}, "size": 10, "status": {"phase": "Down"}},
    {"kind": "Adapter", "metadata": {"name": "c <&>"}, "size": 2.5, "disabled": true}
  ]
}`

func decoded(t testing.TB, text string) any {
	t.Helper()
	decoder := json.NewDecoder(strings.NewReader(text))
	decoder.UseNumber()
	var value any
	if err := decoder.Decode(&value); err != nil {
		t.Fatal(err)
	}
	return value
}

func TestTemplates(t *testing.T) {
	rows := map[string]struct{ template, want string }{
		"text":                       {"hello", "hello"},
		"a field":                    {"{.kind}", "List"},
		"from the root":              {"{$.kind}", "List"},
		"the current":                {"{range .items[*]}{@.size},{end}", "9,10,2.5,"},
		"all of it":                  {"{.items[0].metadata.labels}", `{"example.org/role":"viewer","site":"hall-1"}`},
		"brackets":                   {"{['kind']} {.items[0]['metadata'].name}", "List a"},
		"several names":              {"{.items[0]['kind','size']}", "Node 9"},
		"an escaped dot":             {`{.items[0].metadata.labels.example\.org/role}`, "viewer"},
		"a name with a dot":          {`{.items[0].metadata.labels['example.org/role']}`, "viewer"},
		"an index":                   {"{.items[1].metadata.name}", "b"},
		"an index from the end":      {"{.items[-1].size}", "2.5"},
		"an index that is too large": {"{.items[7].size}", ""},
		"indexes":                    {"{.items[0,2].size}", "9 2.5"},
		"a slice":                    {"{.items[1:].size}", "10 2.5"},
		"a slice to the end":         {"{.items[:-1].size}", "9 10"},
		"a slice with a step":        {"{.items[::2].size}", "9 2.5"},
		"a slice out of range":       {"{.items[5:9].size}", ""},
		"a wildcard":                 {"{.items[*].metadata.name}", "a b c <&>"},
		"a wildcard of an object":    {"{.items[0].metadata.labels.*}", "viewer hall-1"},
		"recursion":                  {"{..name}", "a b c <&>"},
		"recursion with a selection": {"{..conditions[0].type}", "Ready"},
		"everything":                 {"{.items[1].status..*}", "Down"},
		"what is not there":          {"{.spec.nothing}", ""},
		"null":                       {"<{.none}>", "<>"},
		"a boolean":                  {"{.yes}", "true"},
		"a whole object":             {"{.items[2]}", `{"disabled":true,"kind":"Adapter","metadata":{"name":"c <&>"},"size":2.5}`},
		"a range":                    {`{range .items[*]}{.metadata.name}{"\t"}{.status.phase}{"\n"}{end}`, "a\tUp\nb\tDown\nc <&>\t\n"},
		"ranges in ranges":           {`{range .items[*]}{.metadata.name}:{range .status.conditions[*]}{.type}={.status};{end}{end}`, "a:Ready=True;Synced=False;b:c <&>:"},
		"the root within a range":    {"{range .items[*]}{$.kind} {end}", "List List List "},
		"a filter":                   {`{.items[?(@.status.phase=="Up")].metadata.name}`, "a"},
		"a filter in single quotes":  {`{.items[?(@.kind!='Node')].metadata.name}`, "c <&>"},
		"a filter of numbers":        {"{.items[?(@.size>9)].metadata.name}", "b"},
		"numbers are not texts":      {"{.items[?(@.size<=9)].metadata.name}", "a c <&>"},
		"a filter of existence":      {"{.items[?(@.disabled)].metadata.name}", "c <&>"},
		"a filter of absence":        {"{.items[?(!@.disabled)].metadata.name}", "a b"},
		"and, or, brackets":          {`{.items[?(@.kind=="Node" && (@.size<10 || @.size>10))].metadata.name}`, "a"},
		"a filter with true":         {"{.items[?(@.disabled==true)].size}", "2.5"},
		"a filter in a filter":       {`{.items[?(@.status.conditions[?(@.type=="Ready")].status=="True")].metadata.name}`, "a"},
		"a filter with the root":     {`{.items[?(@.kind!=$.kind)].size}`, "9 10 2.5"},
		"spaces":                     {`{ .items[ ?( @.size == 10 ) ].metadata.name }`, "b"},
		"a quoted brace":             {`{"{}"}`, "{}"},
		"nothing":                    {"", ""},
	}
	data := decoded(t, document)
	for name, row := range rows {
		t.Run(name, func(t *testing.T) {
			template, err := Parse(row.template)
			if err != nil {
				t.Fatal(err)
			}
			var out strings.Builder
			if err := template.Execute(&out, data); err != nil || out.String() != row.want {
				t.Errorf("%s: got %q, %v; want %q", row.template, out.String(), err, row.want)
			}
		})
	}
}

func TestFaultsSayWhatAndWhere(t *testing.T) {
	rows := map[string]struct{ template, want string }{
		"no end of a brace":     {"{.a", `"}" is missing at the end of "{.a"`},
		"no path":               {"a {}", `a path begins with $, @, . or [ at character 4, "}"`},
		"a word":                {"{kind}", `a path begins with`},
		"no end of a range":     {"{range .a}{.b}", `{end} of a {range} is missing`},
		"an end without range":  {"{end}", `{end} without a {range}`},
		"no end of brackets":    {"{.a[0}", `"]" is missing`},
		"an empty index":        {"{.a[]}", "an index, a name in quotes, * or ?(…) is missing"},
		"a name without quotes": {"{.a[b]}", "an index, a name in quotes"},
		"an open quote":         {`{.a["b]}`, "a quote is not closed: character 5"},
		"a single =":            {`{.a[?(@.b="c")]}`, `write == to compare at character 10`},
		"half a comparison":     {`{.a[?(@.b==)]}`, "a path, a number, a text in quotes"},
		"a bare word":           {`{.a[?(@.b==c)]}`, "a path, a number, a text in quotes"},
		"no comparison":         {`{.a[?("b")]}`, "a comparison is missing"},
		"a step of 0":           {"{.a[::0]}", "the step of a slice must be at least 1"},
		"two dots":              {"{.a.}", "a name is missing"},
		"three dots":            {"{...a}", "a name is missing after .."},
		"a huge number":         {"{.a[99999999999999999999]}", "no number"},
		"a backslash":           {`{.a\`, "a backslash stands before nothing"},
		"too long":              {strings.Repeat("x", maxTemplate+1), "longer than"},
		"too deep":              {strings.Repeat("{range .a}", maxNesting+2), "nested too deeply"},
		"conditions too deep":   {"{.a[?(" + strings.Repeat("(", 100) + "@.b)]}", "nested too deeply"},
		"filters too deep":      {"{" + strings.Repeat(".a[?(@", 100) + "}", "nested too deeply"},
	}
	for name, row := range rows {
		t.Run(name, func(t *testing.T) {
			if _, err := Parse(row.template); err == nil || !strings.Contains(err.Error(), row.want) {
				t.Errorf("%s: got %v, want %s", row.template, err, row.want)
			}
		})
	}
}

func TestPathsMayBeWrittenInSeveralWays(t *testing.T) {
	data := decoded(t, document)
	for _, text := range []string{"{.items[0].metadata.name}", ".items[0].metadata.name", "items[0].metadata.name", "$.items[0].metadata.name", " {$['items'][0].metadata.name} "} {
		path, err := ParsePath(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if found, err := path.Find(data); err != nil || len(found) != 1 || found[0] != "a" {
			t.Errorf("%s: got %v, %v", text, found, err)
		}
	}
	for _, text := range []string{"", "{.a", ".a}", ".a b", "{}"} {
		if _, err := ParsePath(text); err == nil {
			t.Errorf("%q is taken", text)
		}
	}
}

func TestPathsThatGoThroughTooMuchEnd(t *testing.T) {
	list := make([]any, 3000)
	for i := range list {
		list[i] = list[:0]
	}
	value := any(map[string]any{"a": list, "b": list})
	path, err := ParsePath("..*" + strings.Repeat("..*", 2))
	if err != nil {
		t.Fatal(err)
	}
	for range 24 { // every level doubles what is below
		value = map[string]any{"a": value, "b": value}
	}
	if _, err := path.Find(value); err == nil {
		t.Error("no error")
	}
}

func FuzzTemplates(f *testing.F) {
	for _, seed := range []string{"{.items[*].metadata.name}", `{range .items[?(@.size>1)]}{@}{"\n"}{end}`, "{..name}", "{$['a',\"b\"][0:2:1]}", `{.a\.b[-1]}`} {
		f.Add(seed)
	}
	data := decoded(f, document)
	f.Fuzz(func(t *testing.T, text string) {
		template, err := Parse(text)
		if err != nil {
			return
		}
		_ = template.Execute(io.Discard, data) // may say that it is too much, must not panic
	})
}
