package rest

import (
	"net/http"
	"strings"
	"testing"
)

func TestLookingAtEverythingIsNoBackup(t *testing.T) {
	m := newMatrixWorld(t)
	const path = "/api/v1/backup?recipient=age1lggyhqrw2nlhcxprm67z43rta597azn8gknawjehu9d9dl0jq3yqqvfafg"
	reader := m.apiToken("reader", `{"rules":[{"verbs":["get","list","watch"],"kinds":["*"]}]}`)
	if r := m.do("GET", path, reader, ""); r.code != 403 {
		t.Errorf("somebody who may read everything: %d, %d bytes", r.code, len(r.raw))
	}
	if r := m.do("GET", path, m.column("admin").token, ""); r.code != 200 {
		t.Errorf("somebody who may do everything: %d %s", r.code, r.raw)
	}
}

func TestTheListOfAnAdapterIsWatchedWithTheRightToWatch(t *testing.T) {
	m := newMatrixWorld(t)
	for verbs, want := range map[string]map[string]int{
		`"list"`:         {"": 200, "?watch=true": 403},
		`"watch"`:        {"": 403, "?watch=true": 200},
		`"list","watch"`: {"": 200, "?watch=true": 200},
	} {
		name := "only-" + strings.NewReplacer(`"`, "", ",", "-").Replace(verbs)
		token := m.apiToken(name, `{"rules":[{"verbs":[`+verbs+`],"kinds":["GeneralNode"],"networks":["hall"]}]}`)
		for query, code := range want {
			r, err := http.NewRequest("GET", m.url+"/api/v1/adapters/hall-1/generalnodes"+query, nil)
			if err != nil {
				t.Fatal(err)
			}
			if a := m.ask(column{name: name, token: token}, r); a.code != code {
				t.Errorf("%s%s: %d, want %d: %s", verbs, query, a.code, code, a.raw)
			}
		}
	}
}

// A commit that was applied is what the sync goes back to: who writes it chooses
// what is applied with the rights of the source's role.
func TestOnlyTheSyncSaysWhichCommitWasApplied(t *testing.T) {
	m := newMatrixWorld(t)
	reporter := m.apiToken("reporter", `{"rules":[{"verbs":["get","report"],"kinds":["GitSource"]}]}`)
	body := func(commit string) string {
		return `{"apiVersion":"cyphonic/v1","kind":"GitSource","metadata":{"name":"target"},"status":{"appliedCommit":"` + commit + `"}}`
	}
	mine, theirs := strings.Repeat("a", 40), strings.Repeat("b", 40)
	m.must(200, "PUT", "/api/v1/gitsources/target/status", body(mine))
	r := m.do("PUT", "/api/v1/gitsources/target/status", reporter, body(theirs))
	if got := m.must(200, "GET", "/api/v1/gitsources/target", "").text("status.appliedCommit"); got != mine {
		t.Errorf("%d: the applied commit is %s", r.code, got)
	}
}
