import java.nio.file.Files;
import java.nio.file.Path;
import org.verapdf.gf.foundry.VeraGreenfieldFoundryProvider;
import org.verapdf.pdfa.Foundries;
import org.verapdf.pdfa.PDFAParser;
import org.verapdf.pdfa.PDFAValidator;
import org.verapdf.pdfa.flavours.PDFAFlavour;
import org.verapdf.pdfa.results.TestAssertion;
import org.verapdf.pdfa.results.ValidationResult;

/** Asks veraPDF for PDF/UA-1: a line for each file, its checks, and one for each rule it breaks. */
class PdfUa {
    public static void main(String[] files) throws Exception {
        VeraGreenfieldFoundryProvider.initialise();
        var foundry = Foundries.defaultInstance();
        for (String file : files) {
            try (PDFAParser parser = foundry.createParser(Files.newInputStream(Path.of(file)), PDFAFlavour.PDFUA_1);
                    PDFAValidator validator = foundry.createValidator(PDFAFlavour.PDFUA_1, false)) {
                ValidationResult result = validator.validate(parser);
                System.out.printf("%s %b %d%n", file, result.isCompliant(), result.getTotalAssertions());
                for (TestAssertion broken : result.getTestAssertions()) {
                    System.out.printf("  %s %s%n", broken.getRuleId().getClause(), broken.getMessage());
                }
            }
        }
    }
}
