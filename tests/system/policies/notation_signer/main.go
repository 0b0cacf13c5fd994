// Signs as the Notary Project's own library does: a question a line on standard input, an envelope a line on the output.
//
//	{"key": file, "chain": file, "media_type": "application/jose+json", "expiry_s": 0,
//	 "tsa": url or "", "tsa_roots": file or "",
//	 "target": {"mediaType": "…", "digest": "…", "size": 1}}
package main

import (
	"bufio"
	"context"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"time"

	"github.com/notaryproject/notation-go"
	"github.com/notaryproject/notation-go/signer"
	"github.com/notaryproject/tspclient-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

type question struct {
	Key       string             `json:"key"`
	Chain     string             `json:"chain"`
	MediaType string             `json:"media_type"`
	ExpiryS   int64              `json:"expiry_s"`
	TSA       string             `json:"tsa"`
	TSARoots  string             `json:"tsa_roots"`
	Target    ocispec.Descriptor `json:"target"`
}

func answer(asked question) ([]byte, error) {
	signing, err := signer.NewGenericSignerFromFiles(asked.Key, asked.Chain)
	if err != nil {
		return nil, err
	}
	options := notation.SignerSignOptions{
		SignatureMediaType: asked.MediaType,
		ExpiryDuration:     time.Duration(asked.ExpiryS) * time.Second,
	}
	if asked.TSA != "" {
		roots, err := os.ReadFile(asked.TSARoots)
		if err != nil {
			return nil, err
		}
		options.TSARootCAs = x509.NewCertPool()
		options.TSARootCAs.AppendCertsFromPEM(roots)
		if options.Timestamper, err = tspclient.NewHTTPTimestamper(nil, asked.TSA); err != nil {
			return nil, err
		}
	}
	envelope, _, err := signing.Sign(context.Background(), asked.Target, options)
	return envelope, err
}

func main() {
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var asked question
		err := json.Unmarshal(lines.Bytes(), &asked)
		var envelope []byte
		if err == nil {
			envelope, err = answer(asked)
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		fmt.Println(base64.StdEncoding.EncodeToString(envelope))
	}
}
