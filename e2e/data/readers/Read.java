import java.io.FileInputStream;
import java.io.InputStream;
import java.lang.reflect.Constructor;

/** Writes what a stream of Java's or of Spark's libraries reads: java Read.java CLASS FILE. */
final class Read {
    public static void main(String[] arguments) throws Exception {
        Constructor<?> make = Class.forName(arguments[0]).getConstructor(InputStream.class);
        try (InputStream in = (InputStream) make.newInstance(new FileInputStream(arguments[1]))) {
            in.transferTo(System.out);
        }
        System.out.flush();
    }
}
