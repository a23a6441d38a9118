package cloudtest

import (
	"fmt"
	"html"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// results writes a file of an evaluation: into the folder CYPHONIC_EVALUATION if somebody wants to keep it, else into
// build/evaluation.
func results(t *testing.T, name, text string) {
	t.Helper()
	directory := resultsDirectory()
	must(t, os.MkdirAll(directory, 0o755))
	must(t, os.WriteFile(filepath.Join(directory, name), []byte(text), 0o644))
	t.Logf("%s:\n%s", filepath.Join(directory, name), text)
}

func resultsDirectory() string {
	if directory := os.Getenv("CYPHONIC_EVALUATION"); directory != "" {
		return directory
	}
	return "../../../build/evaluation"
}

// bar of a chart: parts on top of each other.
type bar struct {
	label string
	parts []float64
}

// chart is a bar chart as SVG.
type chart struct {
	title, unit string
	parts       []string // names
	bars        []bar
}

// Measures of a chart in pixels.
const (
	chartWidth, chartHeight = 640, 320
	chartLeft, chartTop     = 60, 40
	chartRight, chartBottom = 20, 60
)

func (c chart) svg() string {
	colours := []string{"#b03a2e", "#e59866", "#5d6d7e", "#2e86c1"}
	most := 0.0
	for _, b := range c.bars {
		sum := 0.0
		for _, v := range b.parts {
			sum += v
		}
		most = max(most, sum)
	}
	if most == 0 {
		most = 1
	}
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line(`<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %[1]d %[2]d" font-family="sans-serif" font-size="12">`, chartWidth, chartHeight)
	line(`<rect width="100%%" height="100%%" fill="white"/><text x="%d" y="20" font-size="14">%s</text>`, chartLeft, html.EscapeString(c.title))
	floor, height := float64(chartHeight-chartBottom), float64(chartHeight-chartBottom-chartTop)
	for i := range 5 {
		value := most * float64(i) / 4
		y := floor - height*float64(i)/4
		line(`<line x1="%d" x2="%d" y1="%.1f" y2="%.1f" stroke="#ddd"/><text x="%d" y="%.1f" text-anchor="end">%.3g</text>`, chartLeft, chartWidth-chartRight, y, y, chartLeft-6, y+4, value)
	}
	line(`<text x="14" y="%d" transform="rotate(-90 14 %[1]d)" text-anchor="middle">%s</text>`, chartTop+int(height/2), html.EscapeString(c.unit))
	step := float64(chartWidth-chartLeft-chartRight) / float64(len(c.bars))
	for i, each := range c.bars {
		x, y := float64(chartLeft)+step*(float64(i)+0.2), floor
		sum := 0.0
		for p, v := range each.parts {
			h := height * v / most
			y, sum = y-h, sum+v
			line(`<rect x="%.1f" y="%.1f" width="%.1f" height="%.1f" fill="%s"/>`, x, y, step*0.6, h, colours[p%len(colours)])
		}
		line(`<text x="%.1f" y="%.1f" text-anchor="middle">%.3g</text>`, x+step*0.3, y-5, sum)
		line(`<text x="%.1f" y="%.1f" text-anchor="middle">%s</text>`, x+step*0.3, floor+16, html.EscapeString(each.label))
	}
	for p, name := range c.parts {
		x := chartLeft + p*200
		line(`<rect x="%d" y="%d" width="10" height="10" fill="%s"/><text x="%d" y="%d">%s</text>`, x, chartHeight-24, colours[p%len(colours)], x+14, chartHeight-15, html.EscapeString(name))
	}
	line(`</svg>`)
	return b.String()
}

func TestChartsAreDrawn(t *testing.T) {
	text := chart{title: "a < b", unit: "%", parts: []string{"one", "two"}, bars: []bar{{"0 s", []float64{3, 1}}, {"5 s", []float64{0, 0}}}}.svg()
	for _, want := range []string{"a &lt; b", ">0 s<", ">5 s<", `height="165.0" fill="#b03a2e"`, `height="55.0" fill="#e59866"`, `height="0.0"`, "</svg>"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %s in the chart:\n%s", want, text)
		}
	}
}
