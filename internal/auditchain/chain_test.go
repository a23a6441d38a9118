package auditchain

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"
)

func chain(t *testing.T, base Point, n int) []Record {
	t.Helper()
	var out []Record
	last := base
	for i := range n {
		r, err := Seal(last, Record{
			Time: time.Date(2030, 1, 2, 3, 4, i, 5000, time.UTC), RequestId: fmt.Sprintf("r%d", i), Subject: "user/alice", Verb: "update", Kind: "Node",
			Name: "viewer", Outcome: Allowed, Status: 200, After: json.RawMessage(fmt.Sprintf(`{"spec":{"b":%d,"a":"<&>é"}}`, i)), Revision: int64(100 + i),
		})
		if err != nil {
			t.Fatal(err)
		}
		out, last = append(out, r), PointOf(r)
	}
	return out
}

func TestAChainThatNobodyTouchedVerifies(t *testing.T) {
	records := chain(t, Genesis(), 20)
	if err := Verify(records, Genesis()); err != nil {
		t.Fatal(err)
	}
	if err := Verify(records[7:], PointOf(records[6])); err != nil {
		t.Errorf("trimmed: %v", err)
	}
	text, err := json.MarshalIndent(records, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	var again []Record
	if err := json.Unmarshal(text, &again); err != nil {
		t.Fatal(err)
	}
	if head, err := VerifySince(again, Genesis(), PointOf(records[11])); err != nil || head != PointOf(records[19]) {
		t.Errorf("after a journey as indented JSON: %v %v", head, err)
	}
	if err := Verify(nil, Genesis()); err != nil {
		t.Errorf("empty: %v", err)
	}
}

// reseal computes the hashes anew from record i on, as somebody would who can write the whole log.
func reseal(t *testing.T, records []Record, i int) {
	t.Helper()
	for last := PointOf(records[i-1]); i < len(records); i++ {
		r, err := Seal(last, records[i])
		if err != nil {
			t.Fatal(err)
		}
		records[i], last = r, PointOf(r)
	}
}

func TestTamperingIsFound(t *testing.T) {
	seen := PointOf(chain(t, Genesis(), 10)[7])
	for name, c := range map[string]struct {
		tamper func(r []Record) []Record
		want   error
		at     int64
	}{
		"subject changed":          {func(r []Record) []Record { r[4].Subject = "user/bob"; return r }, ErrChanged, 5},
		"time changed":             {func(r []Record) []Record { r[4].Time = r[4].Time.Add(time.Microsecond); return r }, ErrChanged, 5},
		"status changed":           {func(r []Record) []Record { r[4].Status = 403; return r }, ErrChanged, 5},
		"object changed":           {func(r []Record) []Record { r[4].After = json.RawMessage(`{"spec":{"b":5,"a":"<&>é"}}`); return r }, ErrChanged, 5},
		"object removed":           {func(r []Record) []Record { r[4].After = nil; return r }, ErrChanged, 5},
		"member twice":             {func(r []Record) []Record { r[4].After = json.RawMessage(`{"a":1,"a":1}`); return r }, ErrChanged, 5},
		"object is no JSON":        {func(r []Record) []Record { r[4].After = json.RawMessage(`{`); return r }, ErrChanged, 5},
		"changed with its hash":    {func(r []Record) []Record { r[4].Subject = "user/bob"; reseal(t, r[:5], 4); return r }, ErrChanged, 5},
		"all after it sealed anew": {func(r []Record) []Record { r[4].Subject = "user/bob"; reseal(t, r, 4); return r }, ErrRewritten, 8},
		"removed in the middle":    {func(r []Record) []Record { return slices.Delete(r, 4, 5) }, ErrMissing, 6},
		"swapped":                  {func(r []Record) []Record { r[4], r[5] = r[5], r[4]; return r }, ErrMissing, 6},
		"swapped with numbers": {func(r []Record) []Record {
			r[4], r[5] = r[5], r[4]
			r[4].Sequence, r[5].Sequence = 5, 6
			return r
		}, ErrChanged, 4},
		"twice":              {func(r []Record) []Record { return slices.Insert(r, 4, r[3]) }, ErrOrder, 4},
		"front removed":      {func(r []Record) []Record { return r[2:] }, ErrBase, 3},
		"end cut off":        {func(r []Record) []Record { return r[:7] }, ErrTruncated, 8},
		"everything cut off": {func([]Record) []Record { return nil }, ErrTruncated, 8},
		"another log of size": {func([]Record) []Record {
			r := chain(t, Genesis(), 10)
			r[0].Name = "x"
			r[0], _ = Seal(Genesis(), r[0])
			reseal(t, r, 1)
			return r
		}, ErrRewritten, 8},
	} {
		t.Run(name, func(t *testing.T) {
			records := c.tamper(chain(t, Genesis(), 10))
			_, err := VerifySince(records, Genesis(), seen)
			var fault *Fault
			if !errors.Is(err, c.want) || !errors.As(err, &fault) || fault.Sequence != c.at {
				t.Errorf("got %v, want %v at %d", err, c.want, c.at)
			}
		})
	}
}

func TestAWrongBaseIsFound(t *testing.T) {
	records := chain(t, Genesis(), 10)
	for name, base := range map[string]Point{
		"other hash":     {Sequence: 3, Hash: records[3].Hash},
		"earlier number": {Sequence: 2, Hash: records[2].Hash},
		"genesis":        Genesis(),
	} {
		if err := Verify(records[3:], base); !errors.Is(err, ErrBase) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := Verify(records[3:], Point{Sequence: 9, Hash: records[2].Hash}); !errors.Is(err, ErrOrder) {
		t.Errorf("later number: %v", err)
	}
	if _, err := VerifySince(nil, PointOf(records[3]), Point{Sequence: 4, Hash: records[4].Hash}); !errors.Is(err, ErrRewritten) {
		t.Errorf("remembered as another: %v", err)
	}
}

// The samples are those of RFC 8785, sections 3.2.2 to 3.2.4 and appendix B.
func TestCanonicalForm(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{
			`{"numbers":[333333333.33333329,1E30,4.50,2e-3,0.000000000000000000000000001],"string":"\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/","literals":[null,true,false]}`,
			`{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],"string":"€$\u000f\nA'B\"\\\\\"/"}`,
		},
		{
			"{\"\u20ac\":\"Euro Sign\",\"\\r\":\"Carriage Return\",\"\\ufb33\":\"Hebrew Letter Dalet With Dagesh\",\"1\":\"One\",\"\\ud83d\\ude00\":\"Emoji: Grinning Face\",\"\u0080\":\"Control\",\"\u00f6\":\"Latin Small Letter O With Diaeresis\"}",
			"{\"\\r\":\"Carriage Return\",\"1\":\"One\",\"\u0080\":\"Control\",\"\u00f6\":\"Latin Small Letter O With Diaeresis\",\"\u20ac\":\"Euro Sign\",\"\U0001f600\":\"Emoji: Grinning Face\",\"\ufb33\":\"Hebrew Letter Dalet With Dagesh\"}",
		},
		{
			`[-0, 5e-324, 1.7976931348623157e308, 9007199254740992, 295147905179352830000, 9.999999999999997e22, 1e21, 999999999999999900000, 1e-6, 1e-7]`,
			`[0,5e-324,1.7976931348623157e+308,9007199254740992,295147905179352830000,9.999999999999997e+22,1e+21,999999999999999900000,0.000001,1e-7]`,
		},
		{` { "hash" : 1 , "b" : { "hash" : 2 } } `, `{"b":{"hash":2}}`},
	} {
		got, err := canonicalise([]byte(c.in), "hash")
		if err != nil || string(got) != c.want {
			t.Errorf("got  %s %v\nwant %s", got, err, c.want)
		}
	}
	for _, in := range []string{``, `{`, `{"a":1} 2`, `1e999`, `{"a":1,"a":2}`} {
		if got, err := canonicalise([]byte(in), ""); err == nil {
			t.Errorf("%q became %s", in, got)
		}
	}
}

func FuzzCanonical(f *testing.F) {
	f.Add([]byte(`{"b":[1,2.5e9,"é\u0000"],"a":null}`))
	f.Fuzz(func(t *testing.T, in []byte) {
		once, err := canonicalise(in, "")
		if err != nil {
			return
		}
		if !json.Valid(once) {
			t.Fatalf("%q gives %q, which is no JSON", in, once)
		}
		twice, err := canonicalise(once, "")
		if err != nil || string(twice) != string(once) {
			t.Fatalf("%q gives %q, that gives %q: %v", in, once, twice, err)
		}
	})
}
