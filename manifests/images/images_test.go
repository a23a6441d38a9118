package images

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"strings"
	"testing"
)

func sample() Image {
	return Image{
		Name: "cyphonic/sample", Tag: "1", Entrypoint: []string{"/sample"}, User: "65532:65532",
		Platforms: []Platform{
			{Architecture: "amd64", Files: []File{{Path: "sample", Mode: 0o555, Content: []byte("amd64 program")}, {Path: "data/", Mode: 0o700, Owner: 65532}}},
			{Architecture: "arm", Variant: "v7", Files: []File{{Path: "sample", Mode: 0o555, Content: []byte("arm program")}}},
		},
	}
}

// read returns the files of an archive.
func read(t *testing.T, r io.Reader) map[string][]byte {
	t.Helper()
	files := make(map[string][]byte)
	for in := tar.NewReader(r); ; {
		header, err := in.Next()
		if err == io.EOF {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		if !header.ModTime.Equal(epoch) {
			t.Errorf("%s has the time %v", header.Name, header.ModTime)
		}
		if files[header.Name], err = io.ReadAll(in); err != nil {
			t.Fatal(err)
		}
	}
}

func TestTheSameFilesGiveTheSameBytes(t *testing.T) {
	var a, b bytes.Buffer
	first, err := Write(&a, sample())
	if err != nil {
		t.Fatal(err)
	}
	second, err := Write(&b, sample())
	if err != nil {
		t.Fatal(err)
	}
	if first != second || !bytes.Equal(a.Bytes(), b.Bytes()) {
		t.Error("two archives of the same image differ")
	}
}

func TestEveryDescriptorLeadsToItsBlob(t *testing.T) {
	var out bytes.Buffer
	digest, err := Write(&out, sample())
	if err != nil {
		t.Fatal(err)
	}
	files := read(t, &out)
	blob := func(d descriptor) []byte {
		b, ok := files["blobs/sha256/"+strings.TrimPrefix(d.Digest, "sha256:")]
		sum := sha256.Sum256(b)
		if !ok || int64(len(b)) != d.Size || d.Digest != "sha256:"+hex.EncodeToString(sum[:]) {
			t.Fatalf("%s %s: there is no such blob", d.MediaType, d.Digest)
		}
		return b
	}
	decode := func(b []byte, value any) {
		if err := json.Unmarshal(b, value); err != nil {
			t.Fatal(err)
		}
	}
	var top, all index
	decode(files["index.json"], &top)
	if len(top.Manifests) != 1 || top.Manifests[0].Digest != digest || top.Manifests[0].Annotations["io.containerd.image.name"] != "cyphonic/sample:1" {
		t.Fatalf("index.json: %+v", top)
	}
	decode(blob(top.Manifests[0]), &all)
	if len(all.Manifests) != 2 {
		t.Fatalf("%d platforms", len(all.Manifests))
	}
	for i, want := range []string{"amd64 program", "arm program"} {
		var m manifest
		var c config
		decode(blob(all.Manifests[i]), &m)
		decode(blob(m.Config), &c)
		if c.Architecture != all.Manifests[i].Platform.Architecture || c.OS != "linux" || c.Config.User != "65532:65532" {
			t.Errorf("configuration: %+v", c)
		}
		unpacked, err := gzip.NewReader(bytes.NewReader(blob(m.Layers[0])))
		if err != nil {
			t.Fatal(err)
		}
		raw, err := io.ReadAll(unpacked)
		if err != nil {
			t.Fatal(err)
		}
		sum := sha256.Sum256(raw)
		if c.RootFS.DiffIDs[0] != "sha256:"+hex.EncodeToString(sum[:]) {
			t.Error("the digest of the uncompressed layer is wrong")
		}
		if got := read(t, bytes.NewReader(raw)); string(got["sample"]) != want {
			t.Errorf("the program is %q", got["sample"])
		}
	}
}
