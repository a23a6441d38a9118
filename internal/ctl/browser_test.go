package ctl

import (
	"net/url"
	"testing"
)

func TestOnlyTheCallbackOfThisLoginIsTaken(t *testing.T) {
	rows := map[string]struct {
		query string
		ok    bool
		code  string
		fails bool
	}{
		"the code":              {"state=s&code=c", true, "c", false},
		"with the issuer":       {"state=s&code=c&iss=https://id", true, "c", false},
		"of another issuer":     {"state=s&code=c&iss=https://evil", false, "", false},
		"of another login":      {"state=t&code=c", false, "", false},
		"without a state":       {"code=c", false, "", false},
		"without a code":        {"state=s", false, "", false},
		"denied":                {"state=s&error=access_denied", true, "", true},
		"denied to somebody":    {"state=t&error=access_denied", false, "", false},
		"denied with its issue": {"state=s&error=access_denied&error_description=no", true, "", true},
	}
	for name, row := range rows {
		query, err := url.ParseQuery(row.query)
		if err != nil {
			t.Fatal(err)
		}
		got, ok := readCallback(query, "s", "https://id")
		if ok != row.ok || got.code != row.code || (got.err != nil) != row.fails {
			t.Errorf("%s: got %+v, %t", name, got, ok)
		}
	}
}
