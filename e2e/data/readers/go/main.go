// Writes what a decoder of Go's or of its modules reads: read READER FILE.
package main

import (
	"compress/gzip"
	"fmt"
	"io"
	"os"

	"github.com/golang/snappy"
	klausgzip "github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"
)

func open(reader string, file io.Reader) (io.Reader, error) {
	switch reader {
	case "gzip":
		return gzip.NewReader(file)
	case "gzip-single":
		in, err := gzip.NewReader(file)
		if err == nil {
			in.Multistream(false)
		}
		return in, err
	case "klauspost-gzip":
		return klausgzip.NewReader(file)
	case "klauspost-zstd":
		return zstd.NewReader(file)
	case "snappy":
		return snappy.NewReader(file), nil
	case "s2":
		return s2.NewReader(file), nil
	}
	return nil, fmt.Errorf("no reader is called %q", reader)
}

func run() error {
	file, err := os.Open(os.Args[2])
	if err != nil {
		return err
	}
	defer file.Close()
	in, err := open(os.Args[1], file)
	if err != nil {
		return err
	}
	_, err = io.Copy(os.Stdout, in)
	return err
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
