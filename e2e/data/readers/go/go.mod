module readers

go 1.24

require (
	github.com/golang/snappy v1.0.0
	github.com/klauspost/compress v1.18.7
)
