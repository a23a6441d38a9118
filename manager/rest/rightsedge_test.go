package rest

import (
	"context"
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

// Which devices there are, and in which network, is not for everybody who may
// make enrolment tokens for some.
func TestARefusedTokenTellsNothingAboutItsDevice(t *testing.T) {
	m := newMatrixWorld(t)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- m.chain.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	hannah := m.column("hall-editor").token
	for _, path := range []string{"POST /api/v1/enrollmenttokens", "PUT /api/v1/enrollmenttokens/probe", "POST /api/v1/enrollmenttokens?dryRun=All"} {
		method, path, _ := strings.Cut(path, " ")
		ask := func(device string) reply {
			return m.do(method, path, hannah, resource("EnrollmentToken", "probe", `{"subjectKind":"Node","subjectName":"`+device+`"}`))
		}
		there, absent := ask("yard-holder"), ask("nothing")
		if there.code != absent.code || there.text("detail") != absent.text("detail") || strings.Contains(there.raw, "yard") {
			t.Errorf("%s %s: %s, of one that is not there: %s", method, path, there.raw, absent.raw)
		}
	}
	m.recorded(3, "subject=token/hannah&outcome=denied&kind=EnrollmentToken&network=yard") // the audit log knows
}

func TestAnAdapterThatMayNotBeSeenIsAsGoodAsAbsent(t *testing.T) {
	m := newMatrixWorld(t)
	hannah := m.column("hall-editor").token
	at := func(adapter string) []reply {
		spec := `{"network":"hall","adapter":"` + adapter + `","mac":"02:00:00:00:aa:01"}`
		return []reply{
			m.do("POST", "/api/v1/generalnodes", hannah, resource("GeneralNode", "probe", spec)),
			m.do("PATCH", "/api/v1/generalnodes/hall-camera", hannah, `{"spec":{"adapter":"`+adapter+`"}}`, with{"Content-Type", mergePatchType}),
			m.do("GET", "/api/v1/adapters/"+adapter+"/generalnodes", hannah, ""),
			m.do("PUT", "/api/v1/adapters/"+adapter+"/generalnodes/x/status", hannah, `{}`),
		}
	}
	there, absent := at("yard-1"), at("nothing")
	for i, r := range there {
		want := strings.ReplaceAll(absent[i].text("detail"), "nothing", "yard-1")
		if r.code != absent[i].code || r.text("detail") != want || strings.Contains(strings.ReplaceAll(r.raw, "yard-1", ""), "yard") {
			t.Errorf("request %d: %s, of one that is not there: %s", i, r.raw, absent[i].raw)
		}
	}
	if r := m.do("POST", "/api/v1/generalnodes", m.admin, resource("GeneralNode", "probe", `{"network":"hall","adapter":"yard-1","mac":"02:00:00:00:aa:01"}`)); r.code != 400 || !strings.Contains(r.raw, "belongs to network yard") {
		t.Errorf("who may see it is told what is wrong: %s", r.raw)
	}
}
