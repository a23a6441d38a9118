package images

import (
	"archive/tar"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"slices"
)

// Image is one program with what it needs, for one or more platforms.
type Image struct {
	Name       string // as in registry/name
	Tag        string
	Entrypoint []string
	User       string // "uid:gid"
	Labels     map[string]string
	Platforms  []Platform
}

// Platform is an image's content for one processor.
type Platform struct {
	Architecture string // as Go names it
	Variant      string // "v7" for 32-bit ARM
	Files        []File
}

// Media types of the OCI image specification, version 1.1.
const (
	mediaIndex    = "application/vnd.oci.image.index.v1+json"
	mediaManifest = "application/vnd.oci.image.manifest.v1+json"
	mediaConfig   = "application/vnd.oci.image.config.v1+json"
	mediaLayer    = "application/vnd.oci.image.layer.v1.tar+gzip"
)

// descriptor points to a blob.
type descriptor struct {
	MediaType   string            `json:"mediaType"`
	Digest      string            `json:"digest"`
	Size        int64             `json:"size"`
	Platform    *platform         `json:"platform,omitempty"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

type platform struct {
	Architecture string `json:"architecture"`
	OS           string `json:"os"`
	Variant      string `json:"variant,omitempty"`
}

type manifest struct {
	SchemaVersion int          `json:"schemaVersion"`
	MediaType     string       `json:"mediaType"`
	Config        descriptor   `json:"config"`
	Layers        []descriptor `json:"layers"`
}

type index struct {
	SchemaVersion int          `json:"schemaVersion"`
	MediaType     string       `json:"mediaType"`
	Manifests     []descriptor `json:"manifests"`
}

type config struct {
	Created string `json:"created"`
	platform
	Config struct {
		User       string            `json:"User"`
		Entrypoint []string          `json:"Entrypoint"`
		WorkingDir string            `json:"WorkingDir"`
		Labels     map[string]string `json:"Labels,omitempty"`
	} `json:"config"`
	RootFS struct {
		Type    string   `json:"type"`
		DiffIDs []string `json:"diff_ids"`
	} `json:"rootfs"`
}

// archive is an OCI image layout in the making.
type archive struct {
	blobs map[string][]byte // by digest
}

func (a *archive) add(mediaType string, b []byte) descriptor {
	sum := sha256.Sum256(b)
	digest := hex.EncodeToString(sum[:])
	a.blobs[digest] = b
	return descriptor{MediaType: mediaType, Digest: "sha256:" + digest, Size: int64(len(b))}
}

func (a *archive) addJSON(mediaType string, value any) (descriptor, error) {
	b, err := json.Marshal(value)
	if err != nil {
		return descriptor{}, err
	}
	return a.add(mediaType, b), nil
}

// Write writes the image as an OCI archive: a tar of an image layout, as `ctr images import`, `podman load` and
// `skopeo copy oci-archive:` take it. It returns the digest of the image.
func Write(w io.Writer, image Image) (digest string, err error) {
	a := &archive{blobs: make(map[string][]byte)}
	var all index
	all.SchemaVersion, all.MediaType = 2, mediaIndex
	for _, p := range image.Platforms {
		d, err := a.addPlatform(image, p)
		if err != nil {
			return "", fmt.Errorf("%s for %s: %w", image.Name, p.Architecture, err)
		}
		all.Manifests = append(all.Manifests, d)
	}
	root, err := a.addJSON(mediaIndex, all)
	if err != nil {
		return "", err
	}
	reference := image.Name + ":" + image.Tag
	root.Annotations = map[string]string{"org.opencontainers.image.ref.name": image.Tag, "io.containerd.image.name": reference}
	top, err := json.Marshal(index{SchemaVersion: 2, MediaType: mediaIndex, Manifests: []descriptor{root}})
	if err != nil {
		return "", err
	}
	return root.Digest, a.write(w, top)
}

func (a *archive) addPlatform(image Image, p Platform) (descriptor, error) {
	packed, diffID, err := layer(p.Files)
	if err != nil {
		return descriptor{}, err
	}
	of := platform{Architecture: p.Architecture, OS: "linux", Variant: p.Variant}
	c := config{Created: epoch.Format("2006-01-02T15:04:05Z"), platform: of}
	c.Config.User, c.Config.Entrypoint, c.Config.WorkingDir, c.Config.Labels = image.User, image.Entrypoint, "/", image.Labels
	c.RootFS.Type, c.RootFS.DiffIDs = "layers", []string{diffID}
	m := manifest{SchemaVersion: 2, MediaType: mediaManifest}
	if m.Config, err = a.addJSON(mediaConfig, c); err != nil {
		return descriptor{}, err
	}
	m.Layers = []descriptor{a.add(mediaLayer, packed)}
	d, err := a.addJSON(mediaManifest, m)
	d.Platform = &of
	return d, err
}

func (a *archive) write(w io.Writer, top []byte) error {
	out := tar.NewWriter(w)
	put := func(name string, b []byte) error {
		header := &tar.Header{Name: name, Mode: 0o644, Size: int64(len(b)), ModTime: epoch, Typeflag: tar.TypeReg, Format: tar.FormatUSTAR}
		if err := out.WriteHeader(header); err != nil {
			return err
		}
		_, err := out.Write(b)
		return err
	}
	if err := put("oci-layout", []byte(`{"imageLayoutVersion":"1.0.0"}`)); err != nil {
		return err
	}
	if err := put("index.json", top); err != nil {
		return err
	}
	digests := make([]string, 0, len(a.blobs))
	for digest := range a.blobs {
		digests = append(digests, digest)
	}
	slices.Sort(digests)
	for _, digest := range digests {
		if err := put("blobs/sha256/"+digest, a.blobs[digest]); err != nil {
			return err
		}
	}
	return out.Close()
}
